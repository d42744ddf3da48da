#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_reader.h"
#include "training/init_names.h"
#include "training/run_config.h"
#include "training/session.h"

// A new run begins with parameters of another's checkpoint. Everything else is its own: step 0, data, batch, seed,
// schedule, and an optimizer that has seen nothing.

namespace triptych::training {

/// What became of a checkpoint's parameters and of the model's, the same on every rank.
struct InitRecord {
  std::filesystem::path from;  ///< the step's folder
  int64_t step = 0;            ///< the checkpoint's
  SavedWeights weights = SavedWeights::kLast;
  InitNames names;
  std::vector<std::string> interpolated;  ///< of those taken: image positions of another grid

  /// What to tell of it, a line each, long lists shortened.
  std::vector<std::string> notes() const;
  /// All of it, for the run's folder: init.json.
  std::string to_json() const;
};

/// The folder that init.from names: a checkpoint in any form that resolve_checkpoint takes, or a run's folder.
std::filesystem::path checkpoint_to_begin_with(const std::string& from);

/// Overwrites the parameters that the checkpoint has, by name after `options.map`; the checkpoint may have been saved
/// on another mesh. Collective.
/// Throws UserError if nothing at all is taken, or a tensor has another shape than the parameter: with both shapes.
InitRecord take_parameters(CheckpointReader& reader, const InitOptions& options, Session& session);

}  // namespace triptych::training
