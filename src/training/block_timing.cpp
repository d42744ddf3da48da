#include "training/block_timing.h"

#include <algorithm>
#include <limits>

#include "base/trace.h"
#include "optim/adamw.h"
#include "parallel/pipeline/schedules.h"
#include "training/step.h"

namespace triptych::training {

std::vector<double> time_blocks(const RunConfig& config, Group& world, const RankPlace& place, int num_steps) {
  const int num_blocks = static_cast<int>(config.task->model().blocks.size());
  const auto refuse = [](const std::string& what) { throw UserError("plan stages --measured", what); };
  if (config.run.device != "cpu") {
    refuse(fmt::format("times blocks on the CPU backend, found run.device = \"{}\". Name a --cluster instead",
                       config.run.device));
  }
  if (num_blocks < 2 || num_blocks > kMaxVirtualStages) {
    refuse(fmt::format("times models of 2 to {} blocks, found {}. Name a --cluster instead", kMaxVirtualStages,
                       num_blocks));
  }
  RunConfig one = config;
  ParallelOptions& parallel = one.parallel;
  one.training.global_batch /= int64_t{parallel.mesh.dp} * parallel.microbatches;
  parallel.mesh = {};
  parallel.schedule = "interleaved";
  parallel.virtual_stages = num_blocks;
  parallel.cuts.clear();
  parallel.microbatches = 1;
  parallel.sequence_parallel = false;
  parallel.zero = 0;
  Trace trace;
  Session session(one, world, place);
  session.executor().set_trace(&trace);
  AdamW optimizer(session.device(), session.store().all(), one.adamw, session.treatments());
  TrainingStep steps(session, optimizer);
  const Fields data = synthetic_fields(session, one);
  const auto run = [&](int64_t step) {
    steps.run(data.cut(1), step, one.learning_rate.peak);
    steps.take(0);
  };
  constexpr int kWarmup = 2;
  for (int step = 0; step < kWarmup; ++step) run(step);
  trace.start();
  for (int step = 0; step < num_steps; ++step) run(kWarmup + step);
  trace.stop();
  session.executor().set_trace(nullptr);

  const std::vector<Action> actions = schedule_of(one).ranks.front();
  std::vector<double> fastest(actions.size(), std::numeric_limits<double>::infinity());
  std::size_t at = 0;
  for (const Trace::Span& span : trace.spans()) {
    if (span.kind != "schedule") continue;
    double& best = fastest[at++ % actions.size()];
    best = std::min(best, static_cast<double>(span.end_ns - span.begin_ns) / 1e9);
  }
  TRIPTYCH_CHECK(at == actions.size() * static_cast<std::size_t>(num_steps), "{} spans of {} actions", at,
                 actions.size());
  std::vector<double> seconds(static_cast<std::size_t>(num_blocks), 0.0);
  for (std::size_t i = 0; i < actions.size(); ++i) {
    if (actions[i].kind == Action::kEmbed) continue;  // a forward once more, which is as long
    seconds[static_cast<std::size_t>(actions[i].stage)] += fastest[i];
  }
  return seconds;
}

}  // namespace triptych::training
