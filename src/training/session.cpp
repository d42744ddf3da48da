#include "training/session.h"

#include <algorithm>
#include <set>
#include <thread>

#include "base/console.h"
#include "base/name_pattern.h"
#include "device/backend.h"
#include "execution/batch_feeder.h"
#include "kernels/matmul.h"
#include "parallel/agreement.h"
#include "parallel/device_choice.h"

namespace triptych::training {
namespace {

std::vector<NamedParameter> named(const std::vector<PlacedParameter>& parameters, const ModelSpec& model) {
  std::set<std::string> names;
  for (const PlacedParameter& one : parameters) names.insert(one.name);
  const std::vector<int> depths = depths_from_top(model);
  std::vector<NamedParameter> result;
  for (const PlacedParameter& one : parameters) {
    result.push_back({.name = one.name,
                      .depth = one.block < depths.size() ? depths[one.block] : 0,
                      .has_adapter = names.contains(adapter_a_name(one.name))});
  }
  return result;
}

// Every pattern must hold for a matrix, and every entry be the first that does for some.
void require_adapters(const std::vector<AdapterOptions>& adapters, const std::vector<NamedParameter>& parameters) {
  for (std::size_t i = 0; i < adapters.size(); ++i) {
    const std::string where = fmt::format("adapters.{}.match", i);
    bool is_used = false;
    for (const NamedParameter& one : parameters) {
      is_used = is_used || (one.has_adapter && adapter_of(adapters, one.name) == &adapters[i]);
    }
    for (const std::string& pattern : adapters[i].match) {
      std::vector<std::string> names;
      std::string other;  // that matches and takes no adapter
      bool is_matched = false;
      for (const NamedParameter& one : parameters) {
        names.push_back(one.name);
        if (!match_pattern(pattern, one.name)) continue;
        is_matched = is_matched || one.has_adapter;
        other = one.name;
      }
      if (is_matched) continue;
      const std::string near = nearest_pattern(pattern, names);
      const std::string remedy = !other.empty() ? fmt::format("{} is none, or is read otherwise too", other)
                                 : near.empty() ? "`triptych inspect --tensors` of a checkpoint lists the names"
                                                : fmt::format("Did you mean `{}`?", near);
      throw UserError(where, fmt::format("a pattern must match a matrix that inputs are multiplied by, found `{}`. {}",
                                         pattern, remedy));
    }
    if (!is_used) {
      throw UserError(
          where, "must match a matrix that none before it matches, found none. Put it before them, or leave it out");
    }
  }
}

}  // namespace

Session::Session(const RunConfig& config, Group& world, const RankPlace& place, InitialValues values)
    : device_(place.num_threads, place.device),
      mesh_(world, config.parallel.mesh, device_),
      plan_(config.parallel.sequence_parallel ? sequence_parallel_plan() : tensor_parallel_plan()),
      model_(config.task->model()),
      store_(device_, mesh_, plan_, config.run.seed, config.training.precision, config.adapters, values,
             config.parallel.zero > 0) {
  model_.fingerprint += adapters_text(config.adapters);
  if (config.training.tf32) allow_tf32(device_.stream(), true);
  const std::vector<ObjectiveSpec> objectives = config.task->objectives();
  const Schedule schedule = schedule_of(config);
  const ExecutionOptions options{
      .dtype = config.training.precision,
      .recompute = config.parallel.recompute,
      .full_blocks = config.parallel.full_blocks,
      .seed = config.run.seed,
      .bucket_bytes = static_cast<int64_t>(config.parallel.bucket_mb * (1 << 20)),
      .tp_pieces = config.parallel.tp_pieces,
      .gradient_dtype = config.parallel.gradient_dtype == "bf16" ? DType::kBFloat16 : DType::kFloat32,
      .zero = static_cast<Zero>(config.parallel.zero),
      .cuts = config.parallel.cuts};
  // A rank may lack the memory for its part of the model.
  together(world, [&] {
    executor_ = std::make_unique<Executor>(device_, mesh_, plan_, store_, model_, objectives, schedule, options);
  });
  together(world, [&] {
    const std::vector<NamedParameter> parameters = named(executor_->parameters(), model_);
    require_adapters(config.adapters, parameters);
    treatments_ = Treatments(config.treatment, parameters);
  });
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
  // A scheduler may have bound each rank to cores of its own, so that no rank sees all of the machine's.
  const int own = static_cast<int>(std::thread::hardware_concurrency());
  const int share = std::min(own, world.node_cores() / world.node_size());
  const std::string warning = placement_warning(config.parallel.mesh, world.machines());
  if (!warning.empty() && world.group().rank() == 0) print_warning(warning);
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
