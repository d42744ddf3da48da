#include "training/session.h"

#include <algorithm>
#include <thread>

#include "kernels/matmul.h"
#include "parallel/pipeline/schedules.h"
#include "training/agreement.h"

namespace triptych {
namespace {

std::vector<int64_t> begin_of(const Parameter& parameter, const Mesh& mesh) {
  Shape begin;
  local_shape(parameter.global_shape, parameter.layout, mesh, &begin);
  return begin.to_vector();
}

TensorBox box_of(const Parameter& parameter, const Mesh& mesh, const std::string& name) {
  return {.name = name,
          .dtype = DType::kFloat32,
          .global_shape = parameter.global_shape.to_vector(),
          .begin = begin_of(parameter, mesh),
          .shape = parameter.value.shape().to_vector()};
}

// Replicated tensors are written by the first rank of the axis.
bool is_owner(const Parameter& parameter, const Mesh& mesh) {
  return std::all_of(kAxes.begin(), kAxes.end(),
                     [&](Axis axis) { return parameter.layout[axis].is_shard() || mesh.rank(axis) == 0; });
}

// Reads a box of a checkpoint into a tensor on the device.
void read_into(CheckpointReader& reader, const TensorBox& box, const Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.num_bytes());
  reader.read(box, bytes.data());
  tensor.device().write(tensor.raw(), bytes.data(), bytes.size());
}

constexpr const char* kFirstMoment = ".first_moment";
constexpr const char* kSecondMoment = ".second_moment";

}  // namespace

Session::Session(const RunConfig& config, Group& world, const RankPlace& place)
    : device_(place.num_threads, place.local_rank),
      mesh_(world, config.parallel.mesh, device_),
      model_(two_tower(config.model, config.parallel.sequence_parallel)),
      store_(device_, mesh_, config.run.seed, config.training.precision) {
  if (config.training.tf32) allow_tf32(device_.stream(), true);
  const Schedule schedule = make_schedule(config.parallel.schedule, config.parallel.mesh.pp,
                                          config.parallel.microbatches, LossCoupling::kCoupled);
  const ExecutionOptions options{.dtype = config.training.precision,
                                 .training = true,
                                 .sequence_parallel = config.parallel.sequence_parallel,
                                 .recompute = config.parallel.recompute,
                                 .seed = config.run.seed,
                                 .bucket_bytes = static_cast<int64_t>(config.parallel.bucket_mb * (1 << 20))};
  // A rank may lack the memory for its part of the model.
  together(world, [&] {
    executor_ = std::make_unique<PipelineExecutor>(device_, mesh_, store_, model_, config.objective, schedule, options);
  });
}

int64_t Session::num_parameters() {
  int64_t count = 0;
  if (mesh_.rank(Axis::kDp) == 0 && mesh_.rank(Axis::kCp) == 0 && mesh_.rank(Axis::kTp) == 0) {
    for (const Parameter* parameter : store_.all()) count += parameter->global_shape.num_elements();
  }
  mesh_.world().all_reduce(&count, 1, DType::kInt64, ReduceOp::kSum)->wait();
  return count;
}

RankPlace rank_place(const RunConfig& config, int node_rank, int node_size) {
  const int share = static_cast<int>(std::thread::hardware_concurrency()) / node_size;
  return {.num_threads = config.run.threads > 0 ? config.run.threads : std::max(1, share), .local_rank = node_rank};
}

std::vector<FieldSource> field_sources(const TwoTowerConfig& model, std::shared_ptr<const Tokenizer> tokenizer,
                                       const AugmentOptions& augment) {
  return {pixels_field(model.image.size, augment),
          text_fields(std::move(tokenizer), model.text.length, model.text.vocabulary)};
}

Fields synthetic_fields(Session& session, const RunConfig& config) {
  const int64_t rows = config.training.global_batch / config.parallel.mesh.dp;
  const std::vector<std::string> names = session.executor().fields();
  const Batch batch = synthetic_batch(sources_of(field_sources(config.model, nullptr), names), config.run.seed,
                                      rows * session.mesh().rank(Axis::kDp), rows);
  return to_device(session.device(), batch, names);
}

OwnedPieces owned_pieces(const Mesh& mesh, std::span<AdamW::State> states) {
  OwnedPieces result;
  for (const AdamW::State& state : states) {
    const Parameter& parameter = *state.parameter;
    if (!is_owner(parameter, mesh)) continue;
    const auto add = [&](const std::string& name, const Tensor& tensor) {
      TensorPiece piece;
      static_cast<TensorBox&>(piece) = box_of(parameter, mesh, name);
      piece.data = static_cast<const std::byte*>(tensor.raw());
      if (!tensor.device().host_can_read()) {
        std::vector<std::byte>& copy = result.memory.emplace_back(tensor.num_bytes());
        tensor.device().read(copy.data(), tensor.raw(), copy.size());
        piece.data = copy.data();
      }
      result.pieces.push_back(std::move(piece));
    };
    add(parameter.name, parameter.value);
    add(parameter.name + kFirstMoment, state.first_moment);
    add(parameter.name + kSecondMoment, state.second_moment);
  }
  return result;
}

void load_states(CheckpointReader& reader, Session& session, std::span<AdamW::State> states) {
  for (AdamW::State& state : states) {
    const Parameter& parameter = *state.parameter;
    read_into(reader, box_of(parameter, session.mesh(), parameter.name + kFirstMoment), state.first_moment);
    read_into(reader, box_of(parameter, session.mesh(), parameter.name + kSecondMoment), state.second_moment);
  }
  load_parameters(reader, session);
}

void load_parameters(CheckpointReader& reader, Session& session) {
  std::vector<TensorBox> boxes;
  for (const Parameter* parameter : session.store().all()) {
    boxes.push_back(box_of(*parameter, session.mesh(), parameter->name));
  }
  reader.require(boxes, false);
  for (const Parameter* parameter : session.store().all()) {
    read_into(reader, box_of(*parameter, session.mesh(), parameter->name), parameter->value);
  }
  session.store().refresh_compute_copies();
}

Coordinator coordinator_of(Group& world) {
  return {world.rank(), world.size(), [&world](const std::string& text) { return world.all_gather_string(text); }};
}

}  // namespace triptych
