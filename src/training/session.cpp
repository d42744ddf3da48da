#include "training/session.h"

#include <algorithm>
#include <thread>

#include "device/backend.h"
#include "execution/batch_feeder.h"
#include "kernels/matmul.h"
#include "parallel/agreement.h"
#include "parallel/device_choice.h"
#include "parallel/pipeline/schedules.h"

namespace triptych::training {
namespace {

std::vector<NamedParameter> named(const std::vector<PlacedParameter>& parameters, const ModelSpec& model) {
  const std::vector<int> depths = depths_from_top(model);
  std::vector<NamedParameter> result;
  for (const PlacedParameter& one : parameters) {
    result.push_back({one.name, one.block < depths.size() ? depths[one.block] : 0});
  }
  return result;
}

}  // namespace

Session::Session(const RunConfig& config, Group& world, const RankPlace& place)
    : device_(place.num_threads, place.device),
      mesh_(world, config.parallel.mesh, device_),
      plan_(config.parallel.sequence_parallel ? sequence_parallel_plan() : tensor_parallel_plan()),
      model_(config.task->model()),
      store_(device_, mesh_, plan_, config.run.seed, config.training.precision) {
  if (config.training.tf32) allow_tf32(device_.stream(), true);
  const std::vector<ObjectiveSpec> objectives = config.task->objectives();
  const Schedule schedule = make_schedule(config.parallel.schedule, config.parallel.mesh.pp,
                                          config.parallel.microbatches, coupling_of(objectives));
  const ExecutionOptions options{.dtype = config.training.precision,
                                 .recompute = config.parallel.recompute,
                                 .seed = config.run.seed,
                                 .bucket_bytes = static_cast<int64_t>(config.parallel.bucket_mb * (1 << 20))};
  // A rank may lack the memory for its part of the model.
  together(world, [&] {
    executor_ = std::make_unique<Executor>(device_, mesh_, plan_, store_, model_, objectives, schedule, options);
  });
  together(world, [&] { treatments_ = Treatments(config.treatment, named(executor_->parameters(), model_)); });
  train_at(0);
}

void Session::train_at(int64_t step) {
  executor_->set_trained([&](const std::string& name) { return treatments_.is_trained(name, step); });
}

int64_t Session::num_parameters() {
  int64_t count = 0;
  if (holds_first_copy(Layout(), mesh_)) {
    for (const Parameter* parameter : store_.all()) {
      if (parameter->is_first_copy) count += parameter->global_shape.num_elements();
    }
  }
  mesh_.world().all_reduce(&count, 1, DType::kInt64, ReduceOp::kSum)->wait();
  return count;
}

RankPlace rank_place(const RunConfig& config, World& world) {
  const int share = static_cast<int>(std::thread::hardware_concurrency()) / world.node_size();
  return {.num_threads = config.run.threads > 0 ? config.run.threads : std::max(1, share),
          .device = agree_on_device(world, visible_devices)};
}

Fields synthetic_fields(Session& session, const RunConfig& config) {
  const int64_t rows = config.training.global_batch / config.parallel.mesh.dp;
  const std::vector<std::string> names = session.executor().fields();
  const Batch batch = synthetic_batch(sources_of(config.task->fields(nullptr), names), config.run.seed,
                                      rows * session.mesh().rank(Axis::kDp), rows);
  return to_device(session.device(), batch, names);
}

}  // namespace triptych::training
