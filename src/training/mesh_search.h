#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
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

/// Every mesh of the devices that the config can run on, the fastest first: tp within a node, pipelines with one, two
/// and four times as many microbatches as stages, or as the next power of two, or what memory takes without a pipeline;
/// the first of ZeRO 1 and 3, and of recomputation's modes, that a device's memory holds; and what tp sends in twice as
/// many pieces as long as that is faster. As many are planned at once as the machine has cores. Throws UserError if
/// none is possible, with the reason.
std::vector<MeshPlan> search_meshes(const Cluster& cluster, const MeshSearch& search);

/// The first of search_meshes alone, of one config on ever more devices. Meshes whose least_seconds are more than what
/// another one takes are not planned; these bounds are kept, since they are of a replica alone, whatever their number.
class FastestMesh {
 public:
  explicit FastestMesh(Cluster cluster) : cluster_(std::move(cluster)) {}

  /// Throws as search_meshes.
  ///   search   of the same config each time but for training.global_batch
  MeshPlan find(const MeshSearch& search);

 private:
  double bound_of(const RunConfig& config);

  Cluster cluster_;
  std::mutex mutex_;
  std::map<std::string, double> bounds_;  // by what a replica does
};

}  // namespace triptych::training
