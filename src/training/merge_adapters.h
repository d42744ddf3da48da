#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "parallel/world.h"
#include "training/run_config.h"

namespace triptych::training {

struct MergeResult {
  std::filesystem::path from, folder;  ///< the checkpoint, and the new one
  int64_t num_adapters = 0;            ///< of the whole model
};

/// Adds the adapters of a run's checkpoint to their matrices, and saves what results as a checkpoint of the model
/// without adapters, of the same step, into `out`. It has no moments. The model computes the same within rounding.
///
/// Every rank merges the pieces that it holds: no communication but the checkpoint's. Collective.
/// Throws UserError if the config has no adapters, `out` has checkpoints already (but for what the same merge left when
/// it failed before its end), or as TrainedModel does.
MergeResult merge_adapters(const RunConfig& config, World& world, const std::string& checkpoint,
                           const std::filesystem::path& out);

}  // namespace triptych::training
