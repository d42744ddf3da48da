#include "launcher/bench_step.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "base/console.h"
#include "kernels/gemm_peak.h"
#include "launcher/ranks.h"
#include "optim/adamw.h"
#include "training/session.h"
#include "training/step.h"
#include "training/step_log.h"

namespace triptych::launcher {
namespace {

struct StepOptions {
  explicit StepOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  int steps = 12;
  int warmup = 2;
};

double peak_rss_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

double megabytes(std::size_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

int bench_step(const StepOptions& options) {
  return run_on_ranks(options.config, MeshUse::kSteps, [&](const RunConfig& config, World& world) {
    using Clock = std::chrono::steady_clock;
    Group& group = world.group();
    Session session(config, group, rank_place(config, world));
    AdamW optimizer(session.device(), session.store().all(), config.adamw, session.treatments());
    TrainingStep steps(session, optimizer);
    // Once: bringing data to the device is the loader's benchmark.
    const Fields data = synthetic_fields(session, config);
    std::vector<double> times;
    double first_loss = 0, loss = 0;
    int64_t allocations = 0;
    const int num_steps = options.warmup + options.steps;
    Clock::time_point last = Clock::now();
    for (int i = 0; i < num_steps; ++i) {
      if (i == options.warmup) {
        allocations = session.device().memory().num_system_allocations;
        session.device().profile(true);
      }
      steps.run(data.cut(config.parallel.microbatches), i, config.learning_rate.peak);
      // A step's time is that from the report before it to its own; on a GPU the next step is queued meanwhile.
      while (const std::unique_ptr<StepReport> report = steps.take(i + 1 == num_steps ? 0 : 1)) {
        const Clock::time_point now = Clock::now();
        if (report->step == 1) first_loss = report->loss();
        if (report->step > options.warmup) times.push_back(std::chrono::duration<double>(now - last).count());
        loss = report->loss();
        last = now;
      }
    }
    session.device().profile(false);
    std::sort(times.begin(), times.end());
    const auto quantile = [&](double q) {
      return times[static_cast<std::size_t>(q * static_cast<double>(times.size() - 1))];
    };
    // Before the peak is measured: that has buffers of its own.
    const double rss = peak_rss_mb();
    const MemoryStats memory = session.device().memory();
    const double peak = gemm_peak_of_all_ranks(session, config.training.precision);
    const int64_t count = session.num_parameters();
    if (group.rank() != 0) return 0;
    const double flops = session.executor().flops() * static_cast<double>(config.training.global_batch);
    nlohmann::ordered_json line;
    line["device"] = session.device().description();
    line["precision"] = precision_name(config.training.precision);
    line["ranks"] = group.size();
    line["threads"] = session.device().stream().num_threads();
    line["parameters"] = count;
    line["gflop_per_step"] = flops / 1e9;
    line["step_ms"] = {{"min", times.front() * 1e3},
                       {"p25", quantile(0.25) * 1e3},
                       {"median", quantile(0.5) * 1e3},
                       {"max", times.back() * 1e3}};
    line["gflops_best"] = flops / times.front() / 1e9;
    line["gflops_p25"] = flops / quantile(0.25) / 1e9;
    line["gemm_peak_gflops"] = peak / 1e9;
    line["peak_share_best"] = flops / times.front() / peak;
    line["peak_share_p25"] = flops / quantile(0.25) / peak;
    line["peak_rss_mb"] = rss;
    line["pool_peak_mb"] = megabytes(memory.peak_used_bytes);
    for (std::size_t i = 0; i < kNumMemoryParts; ++i) {
      const auto part = static_cast<MemoryPart>(i);
      line["pool_peak_mb_by_part"][memory_part_name(part)] = megabytes(memory.peak_by_part[part]);
    }
    line["system_allocations_in_timed_steps"] = memory.num_system_allocations - allocations;
    line["first_loss"] = first_loss;
    line["last_loss"] = loss;
    print("{}\n", line.dump());
    return 0;
  });
}

struct GemmOptions {
  int threads = 1;
};

int bench_gemm(const GemmOptions& options) {
  Device device(options.threads);
  print("{}\n{:>6} {:>6} {:>6}  {:<10} {:<10} {:>10} {:>8}\n", device.description(), "m", "n", "k", "product", "dtype",
        "GFLOP/s", "of peak");
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const double peak = measure_gemm_peak(device, dtype).value_or(std::numeric_limits<double>::quiet_NaN());
    for (const GemmRate& row : measure_gemm_table(device, dtype)) {
      print("{:>6} {:>6} {:>6}  {:<10} {:<10} {:>10.1f} {:>7.1f}%\n", row.m, row.n, row.k,
            row.transpose_a   ? "dW"
            : row.transpose_b ? "y"
                              : "dx",
            dtype_name(dtype), row.gflops, row.gflops / peak * 1e11);
    }
    print("peak {}, {} threads: {:.1f} GFLOP/s\n", dtype_name(dtype), options.threads, peak / 1e9);
  }
  return 0;
}

}  // namespace

void register_bench_step(CLI::App& bench, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = bench.add_subcommand("step", "Times training steps of a config's model on synthetic data");
  const auto options = std::make_shared<StepOptions>(tasks);
  add_config_arguments(*command, options->config);
  command->add_option("--steps", options->steps, "Timed steps")->capture_default_str()->check(CLI::Range(1, 100000));
  command->add_option("--warmup", options->warmup, "Steps before these")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->footer(
      "Prints one JSON object: time a step, FLOP/s of the model's matrix products (backward counts twice forward,\n"
      "recomputation not at all), beside the GEMM peak of the same ranks in the same run, and memory.\n"
      "Example:\n"
      "  triptych bench step configs/bench_clip_small.toml --set training.precision=bf16");
  command->callback([options, &run] { run = [options] { return bench_step(*options); }; });
}

void register_bench_gemm(CLI::App& bench, std::function<int()>& run) {
  CLI::App* command = bench.add_subcommand("gemm", "Times matrix products: the peak that shares refer to");
  const auto options = std::make_shared<GemmOptions>();
  command->add_option("--threads", options->threads, "Threads")->capture_default_str()->check(CLI::Range(1, 1024));
  command->callback([options, &run] { run = [options] { return bench_gemm(*options); }; });
}

}  // namespace triptych::launcher
