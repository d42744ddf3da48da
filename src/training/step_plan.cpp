#include "training/step_plan.h"

#include <algorithm>
#include <mutex>

#include "parallel/pipeline/simulate.h"
#include "training/memory_plan.h"
#include "training/session.h"

namespace triptych::training {
namespace {

// When each entry of a log begins, and the last one ends.
struct Timeline {
  std::vector<double> begin;
  std::vector<double> waits;  // of an entry, what it adds beside work
};

Timeline timeline_of(const WorkLog& log, const Cluster& cluster) {
  Timeline result;
  std::vector<double> done(log.operations().size(), 0);
  double now = 0, node_is_free = 0, network_is_free = 0;
  for (const WorkLog::Entry& entry : log.entries()) {
    result.begin.push_back(now);
    result.waits.push_back(0);
    if (entry.kind == WorkLog::Entry::Kind::kWork) {
      now += cluster.seconds(entry.work);
      continue;
    }
    const WorkLog::Operation& operation = log.operations()[entry.operation];
    if (operation.kind == "send") continue;  // whoever receives it waits
    if (entry.kind == WorkLog::Entry::Kind::kStart) {
      const double takes = cluster.seconds(operation);
      if (!cluster.overlaps) {  // the rank itself moves it
        result.waits.back() = takes;
        now += takes;
        done[entry.operation] = now;
        continue;
      }
      double& is_free = cluster.is_within_node(operation) ? node_is_free : network_is_free;
      is_free = std::max(is_free, now) + takes;
      done[entry.operation] = is_free;
      continue;
    }
    result.waits.back() = std::max(0.0, done[entry.operation] - now);
    now += result.waits.back();
  }
  result.begin.push_back(now);
  return result;
}

// What a rank's actions take, in the order of its list, and what comes before and behind them.
struct RankTimes {
  std::vector<double> actions;
  double before = 0, behind = 0, compute = 0, optimizer = 0;
  Work work;
  std::map<std::string, double> waits;
};

RankTimes times_of(const WorkLog& log, const Trace& trace, const Cluster& cluster) {
  const Timeline timeline = timeline_of(log, cluster);
  const auto at = [&](int64_t position) { return timeline.begin[static_cast<std::size_t>(position)]; };
  RankTimes times;
  int64_t step_begin = 0, step_end = 0, first = -1, last = 0;
  for (const Trace::Span& span : trace.spans()) {
    if (span.kind == "step") {
      step_begin = span.begin_ns;
      step_end = span.end_ns;
    }
    if (span.kind == "optimizer") {
      times.optimizer += at(span.end_ns) - at(span.begin_ns);
      for (int64_t i = span.begin_ns; i < span.end_ns; ++i) {
        times.optimizer -= timeline.waits[static_cast<std::size_t>(i)];
      }
    }
    if (span.kind != "schedule") continue;
    if (first < 0) first = span.begin_ns;
    last = span.end_ns;
    times.actions.push_back(at(span.end_ns) - at(span.begin_ns));
  }
  times.before = at(first) - at(step_begin);
  times.behind = at(step_end) - at(last);
  times.compute = at(step_end) - at(step_begin);
  for (auto i = static_cast<std::size_t>(step_begin); i < static_cast<std::size_t>(step_end); ++i) {
    times.work += log.entries()[i].work;
    if (timeline.waits[i] <= 0) continue;
    times.waits[log.operations()[log.entries()[i].operation].group] += timeline.waits[i];
    times.compute -= timeline.waits[i];
  }
  return times;
}

// Means over the microbatches of what each stage takes for each kind of action, with the sends and receives beside it.
StageCosts costs_of(const Schedule& schedule, const std::vector<RankTimes>& ranks) {
  StageCosts costs = StageCosts::uniform(schedule.num_stages, 0, 0);
  const double share = 1.0 / schedule.num_microbatches;
  for (std::size_t p = 0; p < ranks.size(); ++p) {
    for (std::size_t i = 0; i < ranks[p].actions.size(); ++i) {
      const Action& action = schedule.ranks[p][i];
      const auto stage = static_cast<std::size_t>(action.stage);
      const double time = ranks[p].actions[i];
      switch (action.kind) {
        case Action::kForward:
          costs.forward[stage] += time * share;
          break;
        case Action::kEmbed:
          costs.embed[stage] += time * share;
          break;
        case Action::kLoss:
          costs.loss += time;
          break;
        case Action::kBackward:
          costs.backward[stage] += time * share;
          break;
        case Action::kBackwardInput:
          costs.backward_input[stage] += time * share;
          break;
        case Action::kBackwardWeight:
          costs.backward_weight[stage] += time * share;
          break;
        case Action::kSendActivation:
        case Action::kRecvActivation:
          (action.embed ? costs.embed : costs.forward)[stage] += time * share;
          break;
        case Action::kSendGradient:
        case Action::kRecvGradient:
          costs.backward[stage] += time * share;
          costs.backward_input[stage] += time * share;
          break;
      }
    }
  }
  return costs;
}

std::optional<StepPlan> plan_within(const RunConfig& config, const Cluster& cluster, const PaperSteps& steps) {
  const auto num_ranks = static_cast<std::size_t>(config.parallel.mesh.pp);
  StepPlan plan;
  plan.ranks.resize(num_ranks);
  std::vector<RankTimes> ranks(num_ranks);
  const bool fits = run_steps_on_paper(config, steps, [&](Session& session, const Trace& last_step) {
    const auto p = static_cast<std::size_t>(session.mesh().coordinate().pp);
    plan.ranks[p] = session.device().memory();
    ranks[p] = times_of(*session.device().work_log(), last_step, cluster);
  });
  if (!fits) return std::nullopt;
  const Schedule schedule = schedule_of(config);
  const Simulation simulation = simulate(schedule, costs_of(schedule, ranks));
  double before = 0, behind = 0;
  for (const RankTimes& rank : ranks) {
    before = std::max(before, rank.before);
    behind = std::max(behind, rank.behind);
    const double share = 1.0 / static_cast<double>(num_ranks);
    plan.compute_seconds += rank.compute * share;
    plan.optimizer_seconds += rank.optimizer * share;
    plan.work += rank.work * share;
    for (const auto& [group, time] : rank.waits) plan.waits[group] += time * share;
  }
  plan.seconds = before + simulation.makespan + behind;
  plan.bubble_seconds = simulation.makespan * simulation.bubble_fraction;
  return plan;
}

}  // namespace

BlockCosts plan_blocks(const RunConfig& config, const Cluster& cluster) {
  const std::size_t num_blocks = config.task->model().blocks.size();
  RunConfig one = config;
  one.parallel.mesh.pp = static_cast<int>(num_blocks);
  one.parallel.schedule = "gpipe";
  one.parallel.virtual_stages = 0;
  one.parallel.cuts.clear();
  one.training.global_batch /= one.parallel.microbatches;
  one.parallel.microbatches = 1;
  BlockCosts costs;
  costs.seconds = costs.fixed_bytes = costs.kept_bytes = std::vector<double>(num_blocks, 0.0);
  const Schedule schedule = schedule_of(one);
  run_steps_on_paper(one, {.num_batches = 1}, [&](Session& session, const Trace& last_step) {
    const auto p = static_cast<std::size_t>(session.mesh().coordinate().pp);
    const RankTimes times = times_of(*session.device().work_log(), last_step, cluster);
    for (std::size_t i = 0; i < times.actions.size(); ++i) {
      const Action::Kind kind = schedule.ranks[p][i].kind;
      if (kind == Action::kForward || kind == Action::kBackward || kind == Action::kLoss) {
        costs.seconds[p] += times.actions[i];
      }
    }
    const MemoryStats& memory = session.device().memory();
    costs.kept_bytes[p] = static_cast<double>(memory.peak_by_part[MemoryPart::kOther]);
    // Of a run's batches two are on the device, whole.
    const auto batch = static_cast<double>(memory.peak_by_part[MemoryPart::kBatches]);
    costs.fixed_bytes[p] = static_cast<double>(memory.peak_used_bytes) - costs.kept_bytes[p] +
                           batch * (2.0 * config.parallel.microbatches - 1);
  });
  return costs;
}

StepPlan plan_step(const RunConfig& config, const Cluster& cluster, int num_batches) {
  return *plan_within(config, cluster, {.num_batches = num_batches});
}

std::optional<StepPlan> plan_step_that_fits(const RunConfig& config, const Cluster& cluster) {
  return plan_within(config, cluster,
                     cluster.memory_gb == 0 ? PaperSteps{} : PaperSteps{.most_bytes = cluster.memory_gb * 1e9});
}

double least_seconds(const RunConfig& config, const Cluster& cluster) {
  RunConfig one = config;
  one.training.global_batch /= one.parallel.mesh.dp;
  one.parallel.mesh.dp = 1;
  one.parallel.mesh.dp_near = 0;
  one.parallel.zero = 0;
  one.parallel.recompute = Recompute::kNone;
  one.parallel.full_blocks.clear();
  std::vector<RankTimes> ranks(static_cast<std::size_t>(one.parallel.mesh.pp));
  run_steps_on_paper(one, {.num_batches = 1, .num_steps = 1}, [&](Session& session, const Trace& step) {
    const WorkLog& log = *session.device().work_log();
    RankTimes& times = ranks[static_cast<std::size_t>(session.mesh().coordinate().pp)];
    for (const Trace::Span& span : step.spans()) {
      if (span.kind != "schedule") continue;
      Work work;
      for (int64_t i = span.begin_ns; i < span.end_ns; ++i) work += log.entries()[static_cast<std::size_t>(i)].work;
      times.actions.push_back(cluster.seconds(work));
    }
  });
  const Schedule schedule = schedule_of(one);
  return simulate(schedule, costs_of(schedule, ranks)).makespan;
}

}  // namespace triptych::training
