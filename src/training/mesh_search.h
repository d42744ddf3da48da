#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "training/step_plan.h"

namespace triptych::training {

/// A way to share a run out, and what it would take.
struct MeshPlan {
  ParallelOptions parallel;
  StepPlan step;
};

/// What is tried.
struct MeshSearch {
  int num_devices = 1;
  int most_cp = 1;                     ///< ranks that share a sequence
  std::vector<std::string> schedules;  ///< of pipelines; others have no choice
  /// The run's config with these keys set, `key=value`, checked as every config is; throws UserError where it may not
  /// be.
  std::function<RunConfig(const std::vector<std::string>& overrides)> config_with;
};

/// Every mesh of the devices that the config can run on, the fastest first: tp within a node, pipelines with one, two and
/// four times as many microbatches as stages, or as the next power of two, or what memory takes without a pipeline; the
/// first of ZeRO 1 and 3, and of recomputation's modes, that a device's memory holds. As many are planned at once as
/// the machine has cores. Throws UserError if none is possible, with the reason.
std::vector<MeshPlan> search_meshes(const Cluster& cluster, const MeshSearch& search);

}  // namespace triptych::training
