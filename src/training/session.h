#pragma once

#include <memory>

#include "device/device.h"
#include "execution/executor.h"
#include "optim/treatment.h"
#include "parallel/world.h"
#include "training/run_config.h"

namespace triptych::training {

/// What a rank has of its machine.
struct RankPlace {
  int num_threads = 1;
  int device = 0;  ///< the GPU that it takes, of those that it sees
};
/// Threads as configured, else the machine's cores over the ranks that share it; and the GPU that all ranks agree on.
/// Warns if ranks lie on the machines in an order that is bad for the mesh. Collective. Throws AgreedError if there is
/// not a GPU for each rank.
RankPlace rank_place(const RunConfig& config, World& world);

/// Everything that one rank needs to run steps of a config's model: device, mesh, parameters, executor. Collective.
class Session {
 public:
  ///   world   outlives this; its size is that of the config's mesh
  ///   place   of this rank on its machine
  ///   values  with which the parameters begin
  /// Throws UserError if a pattern of the config is of no parameter, or one of an adapter of no matrix.
  Session(const RunConfig& config, Group& world, const RankPlace& place,
          InitialValues values = InitialValues::kAsSpecified);

  Device& device() { return device_; }
  Mesh& mesh() { return mesh_; }
  const ModelSpec& model() const { return model_; }
  ParameterStore& store() { return store_; }
  Executor& executor() { return *executor_; }
  /// How the config trains each parameter.
  const Treatments& treatments() const { return treatments_; }
  /// From now on what the config trains in the update that follows `step` finished ones is trained; at first that is
  /// what the first update trains.
  void train_at(int64_t step);
  /// Of the whole model, over all ranks. Collective.
  int64_t num_parameters();

 private:
  Device device_;
  Mesh mesh_;
  Plan plan_;
  ModelSpec model_;
  ParameterStore store_;
  std::unique_ptr<Executor> executor_;
  Treatments treatments_;
};

/// Random rows for this rank, on its device, with the fields that it reads: for measuring, and for comparing a mesh
/// with one rank.
Fields synthetic_fields(Session& session, const RunConfig& config);

}  // namespace triptych::training
