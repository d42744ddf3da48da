// Pipeline schedules against the clock: the executor runs a model whose blocks sleep, so that four ranks need no four
// cores, and the share of time that no rank sleeps is compared with the bubble that the simulation says. Messages,
// waits and the order of actions are those of training. Built with the tests, run by hand: benchmark_schedules [MS],
// with the time of a rank's forward of a microbatch, which is that of each half of its backward too.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/core.h>

#include "autograd/record.h"
#include "objectives/contrastive.h"
#include "objectives/cross_entropy.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/simulate.h"
#include "support/rank_model.h"

namespace triptych::test {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr int kRanks = 4, kBlocks = 8, kSteps = 8;
constexpr int64_t kClasses = 3;

/// When a rank slept in a step.
struct Sleeps {
  Seconds one{0};  ///< of a block's forward, and of each half of its backward
  Clock::time_point first{}, last{};
  Seconds sum{0};

  void begin_step() {
    first = last = {};
    sum = Seconds{0};
  }
  void sleep() {
    const Clock::time_point begin = Clock::now();
    if (first == Clock::time_point{}) first = begin;
    std::this_thread::sleep_until(begin + std::chrono::duration_cast<Clock::duration>(one));
    last = Clock::now();
    sum += last - begin;
  }
};

Variable sleeping(const Variable& x, const Variable& weight, Sleeps& sleeps) {
  x.tensor().raw();  // waits for the message
  sleeps.sleep();
  Device& device = x.tensor().device();
  return record("sleeping", {x, weight}, Tensor::zeros(device, x.dtype(), x.tensor().shape()), x.global_shape(),
                x.layout(), [&sleeps, &device](const Gradient& dy, InputGradients& in) {
                  dy.tensor.raw();
                  sleeps.sleep();
                  if (in.needed(0)) in.add(0, Tensor::zeros(device, dy.tensor.dtype(), dy.tensor.shape()), dy.layout);
                  in.apart({1}, [&sleeps, &device](InputGradients& later) {
                    sleeps.sleep();
                    later.target(1, device, Layout()).tensor.fill_zero();
                  });
                });
}

Slot slot_of(const char* name) {
  return {.name = name, .dims = {kClasses}, .place = "batch", .dtype = DType::kFloat32};
}

ModelSpec sleeping_model(Sleeps& sleeps) {
  ModelSpec model;
  for (int i = 0; i < kBlocks; ++i) {
    BlockSpec& block = model.blocks.emplace_back();
    block.name = fmt::format("sleeping.{}", i);
    if (i == 0) {
      block.fields = {"given"};
    } else {
      block.reads = {"value"};
    }
    block.writes = {slot_of("value")};
    const bool is_last = i + 1 == kBlocks;
    if (is_last) block.writes = {slot_of("value"), slot_of("image_embedding"), slot_of("text_embedding")};
    block.forward_flops = block.backward_flops = 1000;
    block.make = [&sleeps, is_last, name = block.name](ParameterStore& store) {
      return make_block(
          &store.create(name, Shape{1}, "replicated", {}),
          [&sleeps, is_last](Parameter* weight, std::span<const Variable> in, const Fields& fields, const Pass& pass) {
            const Variable x = in.empty() ? pass.rows(fields["given"]) : in[0];
            return std::vector<Variable>(is_last ? 3 : 1, sleeping(x, pass.use(*weight), sleeps));
          });
    };
  }
  return model;
}

struct Measured {
  double makespan = 0, bubble = 0;
};

/// The fastest step: what else the machine does only delays a rank that wakes up.
Measured measure(const Schedule& schedule, Seconds one) {
  const std::vector<ObjectiveSpec> objectives{
      schedule.coupling == LossCoupling::kSplit
          ? cross_entropy_objective({.name = "classes", .slot = "value", .field = "label"})
          : contrastive_objective({})};
  std::vector<std::vector<Sleeps>> steps(kSteps, std::vector<Sleeps>(kRanks));
  run_ranks(kRanks, [&](Group& world) {
    Sleeps sleeps{.one = one};
    RankModel rank(world, {.pp = kRanks}, sleeping_model(sleeps), objectives, schedule);
    const int64_t rows = 2 * schedule.num_microbatches;
    Fields batch(rows);
    batch.set("given", Tensor::zeros(rank.device, DType::kFloat32, Shape{rows, kClasses}));
    batch.set("label", Tensor::zeros(rank.device, DType::kInt32, Shape{rows}));
    for (int step = -1; step < kSteps; ++step) {
      world.barrier();
      sleeps.begin_step();
      rank.executor.run_step(batch.cut(schedule.num_microbatches), step + 1);
      if (step >= 0) steps[static_cast<std::size_t>(step)][static_cast<std::size_t>(world.rank())] = sleeps;
    }
  });
  std::vector<Measured> all;
  for (const std::vector<Sleeps>& ranks : steps) {
    Clock::time_point first = ranks[0].first, last = ranks[0].last;
    Seconds sum{0};
    for (const Sleeps& rank : ranks) {
      first = std::min(first, rank.first);
      last = std::max(last, rank.last);
      sum += rank.sum;
    }
    const double makespan = Seconds(last - first).count();
    all.push_back({makespan, 1 - sum.count() / (kRanks * makespan)});
  }
  return *std::min_element(all.begin(), all.end(),
                           [](const Measured& a, const Measured& b) { return a.makespan < b.makespan; });
}

void run(double milliseconds) {
  const double rank_seconds = milliseconds / 1e3, block_seconds = rank_seconds * kRanks / kBlocks;
  fmt::print("{} ranks, forward and each half of a backward {:g} ms a rank and microbatch, the fastest of {} steps\n\n",
             kRanks, milliseconds, kSteps);
  fmt::print("{:<12} {:<8} {:>12} {:>14} {:>14} {:>11} {:>11} {:>8}\n", "schedule", "loss", "microbatches",
             "simulated, ms", "measured, ms", "bubble, sim", "measured", "ratio");
  double farthest = 0;
  for (const LossCoupling coupling : {LossCoupling::kSplit, LossCoupling::kCoupled}) {
    for (const ScheduleKind& kind : schedule_kinds()) {
      for (const int microbatches : {8, 16}) {
        const Schedule schedule = make_schedule(kind.name, {kRanks, 0, microbatches, coupling});
        const double stage = rank_seconds * kRanks / schedule.num_stages;
        const Simulation simulation = simulate(schedule, StageCosts::uniform(schedule.num_stages, stage, 2 * stage));
        const Measured measured = measure(schedule, Seconds(block_seconds));
        const double ratio = measured.bubble / simulation.bubble_fraction;
        farthest = std::max(farthest, std::abs(ratio - 1));
        fmt::print("{:<12} {:<8} {:>12} {:>14.1f} {:>14.1f} {:>10.2f}% {:>10.2f}% {:>8.3f}\n", kind.name,
                   coupling == LossCoupling::kSplit ? "split" : "coupled", microbatches, 1e3 * simulation.makespan,
                   1e3 * measured.makespan, 100 * simulation.bubble_fraction, 100 * measured.bubble, ratio);
        std::fflush(stdout);
      }
    }
  }
  fmt::print("\nfarthest from the simulation: {:.1f} %\n", 100 * farthest);
}

}  // namespace
}  // namespace triptych::test

int main(int argc, char** argv) {
  const double milliseconds = argc > 1 ? std::atof(argv[1]) : 20;
  if (argc > 2 || !(milliseconds > 0 && milliseconds <= 1000)) {
    fmt::print(stderr, "usage: benchmark_schedules [MS], milliseconds from above 0 to 1000\n");
    return 2;
  }
  triptych::test::run(milliseconds);
  return 0;
}
