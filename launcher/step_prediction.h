#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "launcher/ranks.h"

namespace triptych::launcher {

/// What a config's step would take on a cluster, in the terms in which `bench step` measures one.
struct StepPrediction {
  double step_ms = 0;
  /// Of a rank, the mean of the pipeline's: "compute", "optimizer", "pipeline" (bubble and messages), and what is
  /// waited for of each other kind of group: "dp", "tp", ...
  std::map<std::string, double> part_ms;
  double peak_mb = 0;                       ///< of the rank that holds most, MiB
  std::map<std::string, double> memory_mb;  ///< of that rank, by part
};

/// Has `triptych-paper plan step` find it out. Throws UserError where there is no such program or no run could have the
/// config.
///   cluster   a file such as those of configs/clusters
///   batches   on a device at a time: 2 in training, 1 in `bench step`
StepPrediction predict_step(const ConfigArguments& arguments, const std::filesystem::path& cluster, int batches);

}  // namespace triptych::launcher
