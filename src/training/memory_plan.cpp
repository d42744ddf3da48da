#include "training/memory_plan.h"

#include <algorithm>
#include <atomic>

#include "base/error.h"
#include "data/field_source.h"
#include "device/backend.h"
#include "execution/partition_model.h"
#include "optim/adamw.h"
#include "parallel/paper_world.h"
#include "training/session.h"
#include "training/step.h"

namespace triptych::training {
namespace {

Fields empty_batch(Session& session, const RunConfig& config) {
  const std::vector<std::string> names = session.executor().fields();
  Fields batch(config.training.global_batch / config.parallel.mesh.dp);
  for (const FieldSpec& spec : fields_of(sources_of(config.task->fields(nullptr), names))) {
    if (std::find(names.begin(), names.end(), spec.name) == names.end()) continue;
    batch.set(spec.name,
              Tensor::empty(session.device(), spec.dtype, spec.batch_shape(batch.num_samples()), MemoryPart::kBatches));
  }
  return batch;
}

// The names of the blocks that each pipeline rank has.
std::vector<std::vector<std::string>> blocks_of_ranks(const RunConfig& config) {
  const ModelSpec model = config.task->model();
  const Schedule schedule = schedule_of(config);
  const Partition partition =
      partition_model(model, config.task->objectives(), schedule.num_stages, config.parallel.cuts);
  std::vector<std::vector<std::string>> ranks(static_cast<std::size_t>(schedule.num_ranks));
  for (int s = 0; s < schedule.num_stages; ++s) {
    const auto stage = static_cast<std::size_t>(s);
    for (int i = partition.begin[stage]; i < partition.begin[stage + 1]; ++i) {
      ranks[static_cast<std::size_t>(schedule.rank_of_stage[stage])].push_back(
          model.blocks[static_cast<std::size_t>(i)].name);
    }
  }
  return ranks;
}

}  // namespace

bool run_steps_on_paper(const RunConfig& config, const PaperSteps& steps,
                        const std::function<void(Session& session, const Trace& last_step)>& visit) {
  TRIPTYCH_CHECK(backend_kind() == "paper", "runs are planned on paper, this program computes on {}", backend_kind());
  std::atomic<bool> fits = true;
  run_on_paper(config.parallel.mesh, [&](Group& world) {
    Trace trace;
    Session session(config, world, RankPlace{});
    trace.set_clock([log = session.device().work_log()] { return log->position(); });
    session.executor().set_trace(&trace);
    AdamW optimizer(session.device(), session.store().all(), config.adamw, session.treatments());
    TrainingStep training(session, optimizer);
    std::vector<Fields> batches;
    for (int i = 0; i < steps.num_batches; ++i) batches.push_back(empty_batch(session, config));
    for (int64_t step = 0; step < steps.num_steps && fits; ++step) {
      if (step + 1 == steps.num_steps) trace.start();
      const TraceScope scope(&trace, "step", [&] { return fmt::format("step {}", step); });
      training.run(batches.front().cut(config.parallel.microbatches), step, config.learning_rate.peak);
      training.take(0);
      if (static_cast<double>(session.device().memory().peak_used_bytes) > steps.most_bytes) fits = false;
    }
    trace.stop();
    if (fits) visit(session, trace);
    session.executor().set_trace(nullptr);
  });
  return fits;
}

std::vector<MemoryStats> plan_memory(const RunConfig& config, int num_batches) {
  std::vector<MemoryStats> ranks(static_cast<std::size_t>(config.parallel.mesh.pp));
  run_steps_on_paper(config, {.num_batches = num_batches}, [&](Session& session, const Trace&) {
    ranks[static_cast<std::size_t>(session.mesh().coordinate().pp)] = session.device().memory();
  });
  return ranks;
}

std::size_t peak_bytes(const std::vector<MemoryStats>& ranks) {
  std::size_t most = 0;
  for (const MemoryStats& rank : ranks) most = std::max(most, rank.peak_used_bytes);
  return most;
}

std::optional<MemoryFit> fit_memory(const RunConfig& config, std::size_t budget_bytes, int num_batches) {
  const auto plan = [&](MemoryFit fit) {
    RunConfig with = config;
    with.parallel.recompute = fit.recompute;
    with.parallel.full_blocks = fit.full_blocks;
    fit.ranks = plan_memory(with, num_batches);
    return fit;
  };
  const auto fits = [&](const MemoryStats& rank) { return rank.peak_used_bytes <= budget_bytes; };
  const auto all_fit = [&](const MemoryFit& fit) { return std::all_of(fit.ranks.begin(), fit.ranks.end(), fits); };
  for (const Recompute recompute : {Recompute::kNone, Recompute::kSelective}) {
    if (recompute < config.parallel.recompute) continue;
    const MemoryFit fit = plan({.recompute = recompute});
    if (all_fit(fit)) return fit;
  }
  const MemoryFit full = plan({.recompute = Recompute::kFull});
  if (!all_fit(full)) return std::nullopt;
  if (config.parallel.recompute == Recompute::kFull) return full;
  // Ranks hold what they hold whatever the others do, so one plan is a step of each rank's bisection.
  const std::vector<std::vector<std::string>> blocks = blocks_of_ranks(config);
  std::vector<std::size_t> least(blocks.size(), 0), enough;
  for (const std::vector<std::string>& of_rank : blocks) enough.push_back(of_rank.size());
  const auto with = [&](const std::vector<std::size_t>& counts) {
    MemoryFit fit{.recompute = Recompute::kSelective};
    for (std::size_t p = 0; p < blocks.size(); ++p) {
      fit.full_blocks.insert(fit.full_blocks.end(), blocks[p].begin(),
                             blocks[p].begin() + static_cast<std::ptrdiff_t>(counts[p]));
    }
    return plan(std::move(fit));
  };
  while (least != enough) {
    std::vector<std::size_t> middle;
    for (std::size_t p = 0; p < blocks.size(); ++p) middle.push_back((least[p] + enough[p]) / 2);
    const MemoryFit fit = with(middle);
    for (std::size_t p = 0; p < blocks.size(); ++p) {
      if (least[p] == enough[p]) continue;
      if (fits(fit.ranks[p])) {
        enough[p] = middle[p];
      } else {
        least[p] = middle[p] + 1;
      }
    }
  }
  const MemoryFit fit = with(enough);
  return all_fit(fit) ? fit : full;
}

}  // namespace triptych::training
