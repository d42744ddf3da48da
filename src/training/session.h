#pragma once

#include <memory>

#include "device/device.h"
#include "execution/executor.h"
#include "training/run_config.h"

namespace triptych::training {

/// What a rank has of its machine.
struct RankPlace {
  int num_threads = 1;
  int local_rank = 0;  ///< among the machine's ranks: which GPU it takes
};
/// Threads as configured, else the machine's cores over the ranks that share it.
RankPlace rank_place(const RunConfig& config, int node_rank, int node_size);

/// Everything that one rank needs to run steps of a config's model: device, mesh, parameters, executor. Collective.
class Session {
 public:
  ///   world   outlives this; its size is that of the config's mesh
  ///   place   of this rank on its machine
  Session(const RunConfig& config, Group& world, const RankPlace& place);

  Device& device() { return device_; }
  Mesh& mesh() { return mesh_; }
  const ModelSpec& model() const { return model_; }
  ParameterStore& store() { return store_; }
  Executor& executor() { return *executor_; }
  /// Of the whole model, over all ranks. Collective.
  int64_t num_parameters();

 private:
  Device device_;
  Mesh mesh_;
  Plan plan_;
  ModelSpec model_;
  ParameterStore store_;
  std::unique_ptr<Executor> executor_;
};

/// Random rows for this rank, on its device, with the fields that it reads: for measuring, and for comparing a mesh
/// with one rank.
Fields synthetic_fields(Session& session, const RunConfig& config);

}  // namespace triptych::training
