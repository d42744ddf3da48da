#include "launcher/bench_step.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "base/console.h"
#include "base/error.h"
#include "base/trace.h"
#include "device/backend.h"
#include "kernels/gemm_peak.h"
#include "launcher/ranks.h"
#include "optim/adamw.h"
#include "parallel/agreement.h"
#include "report/communication_times.h"
#include "report/trace_file.h"
#include "training/run_inputs.h"
#include "training/session.h"
#include "training/step.h"
#include "training/step_log.h"
#include "training/training_batches.h"

namespace triptych::launcher {
namespace {

struct StepOptions {
  explicit StepOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  int steps = 12;
  int warmup = 2;
  int traced = 2;
  bool data = false;
  bool table = false;
};

using Json = nlohmann::ordered_json;

double peak_rss_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

double megabytes(std::size_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

/// Steps of a session, one after the other: on the same synthetic data, or on a run's batches as they come.
class Steps {
 public:
  ///   batches   null: synthetic data
  Steps(Session& session, const RunConfig& config, TrainingBatches* batches)
      : config_(config),
        optimizer_(session.device(), session.store().all(), config.adamw, session.treatments()),
        steps_(session, optimizer_),
        batches_(batches) {
    if (batches_ == nullptr) synthetic_ = synthetic_fields(session, config);
  }

  /// Seconds of each of the next `count` steps: from the report before it to its own, since on a GPU the next step is
  /// queued meanwhile. With a trace, which a GPU must not fall behind, every report is waited for.
  std::vector<double> run(int count, Trace* trace = nullptr) {
    using Clock = std::chrono::steady_clock;
    std::vector<double> times;
    Clock::time_point last = Clock::now();
    for (int i = 0; i < count; ++i) {
      const TraceScope scope(trace, "step", [&] { return fmt::format("step {}", num_done_ + 1); });
      const Fields* batch = &synthetic_;
      wait_for_loader(trace, [&] { batch = &batches_->next(); });
      steps_.run(batch->cut(config_.parallel.microbatches), num_done_++, config_.learning_rate.peak);
      wait_for_loader(trace, [&] { batches_->prefetch(); });
      const std::size_t newer = trace != nullptr || i + 1 == count ? 0 : 1;
      while (const std::unique_ptr<StepReport> report = steps_.take(newer)) {
        const Clock::time_point now = Clock::now();
        times.push_back(std::chrono::duration<double>(now - last).count());
        last = now;
        if (report->step == 1) first_loss_ = report->loss();
        last_loss_ = report->loss();
      }
    }
    return times;
  }
  double first_loss() const { return first_loss_; }
  double last_loss() const { return last_loss_; }

 private:
  // As in training: a step's batch is waited for in front of it, the next one's behind what it queued.
  void wait_for_loader(Trace* trace, const std::function<void()>& wait) {
    if (batches_ == nullptr) return;
    const TraceScope scope(trace, "loader", [] { return std::string("the next batch"); });
    wait();
  }

  const RunConfig& config_;
  AdamW optimizer_;
  TrainingStep steps_;
  TrainingBatches* batches_;
  Fields synthetic_;
  int64_t num_done_ = 0;
  double first_loss_ = 0, last_loss_ = 0;
};

/// What one rank's memory held at most, and where the time of its traced steps went, a step.
Json describe_rank(const MemoryStats& memory, double rss_mb, const Trace& trace,
                   const std::map<std::string, report::CommunicationTimes>& communication, int num_traced) {
  Json rank;
  rank["peak_rss_mb"] = rss_mb;
  rank["pool_peak_mb"] = megabytes(memory.peak_used_bytes);
  for (std::size_t i = 0; i < kNumMemoryParts; ++i) {
    const auto part = static_cast<MemoryPart>(i);
    rank["pool_peak_mb_by_part"][memory_part_name(part)] = megabytes(memory.peak_by_part[part]);
  }
  for (const auto& [part, time] : report::times_by_part(trace)) {
    rank["traced_step_ms"][part] = static_cast<double>(time) / 1e6 / num_traced;
  }
  for (const auto& [kind, times] : communication) {
    rank["communication"][kind] = {{"operations", static_cast<double>(times.num_operations) / num_traced},
                                   {"mb", static_cast<double>(times.bytes) / (1 << 20) / num_traced},
                                   {"in_flight_ms", static_cast<double>(times.in_flight_ns) / 1e6 / num_traced},
                                   {"exposed_ms", static_cast<double>(times.exposed_ns()) / 1e6 / num_traced},
                                   {"hidden_share", times.hidden_share()}};
  }
  return rank;
}

// Where the time of a traced step goes, the mean of all ranks.
void print_tables(const Group& group, const std::vector<std::string>& ranks,
                  const std::map<std::string, report::CommunicationTimes>& communication, int num_traced) {
  std::map<std::string, double> means;
  for (const std::string& rank : ranks) {
    const Json parsed = Json::parse(rank);
    for (const auto& [part, ms] : parsed.at("traced_step_ms").items()) {
      means[part] += ms.get<double>() / group.size();
    }
  }
  print("A traced step, the mean of {} ranks and {} steps.\n\n{:<16}  {:>9}  {:>7}\n", group.size(), num_traced, "part",
        "ms", "share");
  for (const auto& [part, ms] : means) print("{:<16}  {:>9.2f}  {:>6.1f}%\n", part, ms, 100 * ms / means.at("all"));
  if (!communication.empty()) {
    print("\n{}", report::communication_table(communication, int64_t{group.size()} * num_traced));
  }
}

int bench_step(const StepOptions& options) {
  if (options.table && options.traced == 0) {
    throw UserError("--table", "shows traced steps, and --traced is 0. Set --traced to 1 or more.");
  }
  return run_on_ranks(options.config, MeshUse::kSteps, [&](const RunConfig& config, World& world) {
    Group& group = world.group();
    RunInputs inputs;
    if (options.data) {
      open_data_together(config, world, inputs);
      together(group, [&] { open_tokenizer(config, inputs); });
    }
    Session session(config, group, rank_place(config, world));
    std::optional<TrainingBatches> batches;
    if (options.data) together(group, [&] { batches.emplace(config, session, group, inputs, 0); });
    Steps steps(session, config, batches ? &*batches : nullptr);
    steps.run(options.warmup);
    const int64_t allocations = session.device().memory().num_system_allocations;
    session.device().profile(true);
    std::vector<double> times = steps.run(options.steps);
    session.device().profile(false);
    const int64_t new_allocations = session.device().memory().num_system_allocations - allocations;
    // Before the peak is measured: that has buffers of its own.
    const double rss = peak_rss_mb();
    const MemoryStats memory = session.device().memory();
    const double first_loss = steps.first_loss(), last_loss = steps.last_loss();
    Trace trace;
    const std::unique_ptr<TraceListener> ranges = profiler_ranges();
    trace.set_listener(ranges.get());
    if (options.traced > 0) {
      session.executor().set_trace(&trace);
      trace.start();
      steps.run(options.traced, &trace);
      trace.stop();
    }
    std::map<std::string, report::CommunicationTimes> communication;
    if (backend_kind() == "cpu") communication = report::communication_times(trace);
    const std::vector<std::string> ranks =
        group.all_gather_string(describe_rank(memory, rss, trace, communication, options.traced).dump());
    const std::vector<std::string> of_ranks = group.all_gather_string(report::communication_text(communication));
    const double peak = gemm_peak_of_all_ranks(session, config.training.precision);
    const int64_t count = session.num_parameters();
    if (group.rank() != 0) return 0;
    if (options.table) {
      print_tables(group, ranks, report::sum_of_texts(of_ranks), options.traced);
      return 0;
    }

    std::sort(times.begin(), times.end());
    const auto quantile = [&](double q) {
      return times[static_cast<std::size_t>(q * static_cast<double>(times.size() - 1))];
    };
    const auto batch = static_cast<double>(config.training.global_batch);
    const double flops = session.executor().flops() * batch;
    const MeshShape& mesh = config.parallel.mesh;
    Json line;
    line["device"] = session.device().description();
    line["precision"] = precision_name(config.training.precision);
    line["ranks"] = group.size();
    line["mesh"] = {{"pp", mesh.pp}, {"dp", mesh.dp}, {"cp", mesh.cp}, {"tp", mesh.tp}};
    line["threads"] = session.device().stream().num_threads();
    line["parameters"] = count;
    line["global_batch"] = config.training.global_batch;
    line["data"] = options.data ? "loader" : "synthetic";
    line["gflop_per_step"] = flops / 1e9;
    line["step_ms"] = {{"min", times.front() * 1e3},
                       {"p25", quantile(0.25) * 1e3},
                       {"median", quantile(0.5) * 1e3},
                       {"max", times.back() * 1e3}};
    line["samples_per_s_median"] = batch / quantile(0.5);
    line["gflops_best"] = flops / times.front() / 1e9;
    line["gflops_p25"] = flops / quantile(0.25) / 1e9;
    line["gemm_peak_gflops"] = peak / 1e9;
    line["peak_share_best"] = flops / times.front() / peak;
    line["peak_share_p25"] = flops / quantile(0.25) / peak;
    line["system_allocations_in_timed_steps"] = new_allocations;
    line["first_loss"] = first_loss;
    line["last_loss"] = last_loss;
    for (const std::string& rank : ranks) line["by_rank"].push_back(Json::parse(rank));
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
  CLI::App* command =
      bench.add_subcommand("step", "Times training steps of a config's model, on synthetic data or its own");
  const auto options = std::make_shared<StepOptions>(tasks);
  add_config_arguments(*command, options->config);
  command->add_option("--steps", options->steps, "Timed steps")->capture_default_str()->check(CLI::Range(1, 100000));
  command->add_option("--warmup", options->warmup, "Steps before these")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->add_option("--traced", options->traced, "Steps behind them, of which is told where their time goes")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  command->add_flag(
      "--data", options->data,
      "Batches of the config's training set through its loader instead of synthetic ones: what steps wait "
      "for it is then a part of their time, loader");
  command->add_flag("--table", options->table, "Print tables of where the time goes instead, for people");
  command->footer(
      "Prints one JSON object: time a step, FLOP/s of the model's matrix products (backward counts twice forward,\n"
      "recomputation not at all), beside the GEMM peak of the same ranks in the same run; of each rank\n"
      "the memory at its peak, and the time of a traced step by part: compute, starts of operations of groups and\n"
      "waits for them by the kind of group (wait pp: the pipeline's bubble and messages), poll (moves of data between\n"
      "the model's operations), optimizer, with --data loader (waits for batches to be read, agreed on and copied); "
      "on\n"
      "the CPU, of each group's operations and each kind of them, bytes, time in flight, and how much of it the rank\n"
      "did not compute meanwhile (exposed) or did (hidden). Needs parallel.pp * dp * cp * tp ranks.\n"
      "Examples:\n"
      "  triptych bench step configs/bench_clip_small.toml --set training.precision=bf16\n"
      "  triptych bench step configs/quickstart.toml --data --table");
  command->callback([options, &run] { run = [options] { return bench_step(*options); }; });
}

void register_bench_gemm(CLI::App& bench, std::function<int()>& run) {
  CLI::App* command = bench.add_subcommand("gemm", "Times matrix products: the peak that shares refer to");
  const auto options = std::make_shared<GemmOptions>();
  command->add_option("--threads", options->threads, "Threads")->capture_default_str()->check(CLI::Range(1, 1024));
  command->callback([options, &run] { run = [options] { return bench_gemm(*options); }; });
}

}  // namespace triptych::launcher
