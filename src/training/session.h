#pragma once

#include <memory>
#include <span>
#include <vector>

#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/checkpoint_writer.h"
#include "data/field_sources.h"
#include "device/device.h"
#include "execution/executor.h"
#include "optim/adamw.h"
#include "parallel/world.h"
#include "training/batch_feeder.h"
#include "training/run_config.h"

namespace triptych {

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
  PipelineExecutor& executor() { return *executor_; }
  /// Of the whole model, over all ranks. Collective.
  int64_t num_parameters();

 private:
  Device device_;
  Mesh mesh_;
  ModelSpec model_;
  ParameterStore store_;
  std::unique_ptr<PipelineExecutor> executor_;
};

/// What a model's blocks read. `tokenizer` may be null where nothing but synthetic batches are made.
std::vector<FieldSource> field_sources(const TwoTowerConfig& model, std::shared_ptr<const Tokenizer> tokenizer,
                                       const AugmentOptions& augment = {});
/// Random rows for this rank, on its device, with what its stage reads: for measuring, and for comparing a mesh with
/// one rank.
Fields synthetic_fields(Session& session, const RunConfig& config);

/// What this rank writes to a checkpoint: its parameters and moments, each global element by one rank. The pieces point
/// to the tensors, or, where the host cannot read the device's memory, to copies in `memory`.
struct OwnedPieces {
  std::vector<TensorPiece> pieces;
  std::vector<std::vector<std::byte>> memory;
};
OwnedPieces owned_pieces(const Mesh& mesh, std::span<AdamW::State> states);

/// Reads parameters and moments (any mesh), then refreshes the compute copies.
void load_states(CheckpointReader& reader, Session& session, std::span<AdamW::State> states);
/// Reads parameters alone, for evaluation.
void load_parameters(CheckpointReader& reader, Session& session);

Coordinator coordinator_of(Group& world);

}  // namespace triptych
