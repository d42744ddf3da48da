#include "launcher/bench_cluster.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/mman.h>
#include <unistd.h>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "base/program_identity.h"
#include "launcher/measured_run.h"
#include "launcher/program_output.h"
#include "launcher/ranks.h"
#include "training/cluster_fit.h"

namespace triptych::launcher {
namespace {

namespace fs = std::filesystem;
constexpr const char* kWhere = "bench cluster";

struct ClusterOptions {
  TaskTable tasks;
  std::vector<fs::path> configs;
  std::vector<std::string> overrides;
  std::string name;
  int ranks = 2;
  int threads = 1;
  int rounds = 2;
  int steps = 4;
  fs::path out;
};

// A file that ends with this process, which others that it starts can read.
class FileInMemory {
 public:
  explicit FileInMemory(const std::string& text) : file_(::memfd_create("cluster", MFD_CLOEXEC)) {
    if (file_ < 0 || ::write(file_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      const int error = errno;
      if (file_ >= 0) ::close(file_);
      throw WorldError(kWhere, fmt::format("cannot make a file in memory: {}", describe_errno(error)));
    }
  }
  ~FileInMemory() { ::close(file_); }
  FileInMemory(const FileInMemory&) = delete;
  FileInMemory& operator=(const FileInMemory&) = delete;
  fs::path path() const { return fmt::format("/proc/{}/fd/{}", ::getpid(), file_); }

 private:
  int file_;
};

// A step that is measured: a config on one rank, of a batch and a precision.
struct Case {
  ConfigArguments config;
  std::string name;
  TimedWork timed;
};

std::vector<Case> cases_of(const ClusterOptions& options) {
  std::vector<Case> cases;
  for (const fs::path& file : options.configs) {
    ConfigArguments config(options.tasks);
    config.file = file;
    config.overrides = options.overrides;
    for (const char* const alone :
         {"parallel.pp=1", "parallel.dp=1", "parallel.cp=1", "parallel.tp=1", "parallel.zero=0",
          "parallel.zero_group=0", "parallel.cuts=[]", "parallel.microbatches=1", "parallel.sequence_parallel=false",
          "parallel.virtual_stages=0", "parallel.schedule=\"gpipe\"", "parallel.memory_budget_mb=0.0"}) {
      config.overrides.push_back(alone);
    }
    config.overrides.push_back(fmt::format("run.threads={}", options.threads));
    const RunConfig loaded = load_run_config(file, config.overrides, options.tasks, MeshUse::kSteps, 1);
    if (loaded.run.device != "cpu") {
      throw UserError(kWhere, fmt::format("measures the CPU backend alone, found run.device = \"{}\" in {}. Write a "
                                          "file like those of configs/clusters for other machines",
                                          loaded.run.device, file.string()));
    }
    std::vector<int64_t> batches{loaded.training.global_batch};  // a small step tells what kernels take beside work
    if (batches.front() >= 8) batches.push_back(batches.front() / 4);
    for (const char* const precision : {"fp32", "bf16"}) {
      for (const int64_t samples : batches) {
        Case one{
            .config = config, .name = fmt::format("{}, {}, batch {}", file.string(), precision, samples), .timed = {}};
        one.config.overrides.push_back(fmt::format("training.precision=\"{}\"", precision));
        one.config.overrides.push_back(fmt::format("training.global_batch={}", samples));
        load_run_config(file, one.config.overrides, options.tasks, MeshUse::kSteps, 1);  // tells now what is wrong
        cases.push_back(std::move(one));
      }
    }
  }
  return cases;
}

Work work_of(const Case& one, const fs::path& any_cluster) {
  std::vector<std::string> words{"plan", "step", "--json", "--cluster", any_cluster.string()};
  append_config(words, one.config);
  const auto plan = nlohmann::json::parse(paper_output(kWhere, "build it first", std::move(words)));
  const auto& work = plan.at("work");
  return {.product_flops = work.at("product_flops").get<double>(),
          .half_product_flops = work.at("half_product_flops").get<double>(),
          .attention_flops = work.at("attention_flops").get<double>(),
          .half_attention_flops = work.at("half_attention_flops").get<double>(),
          .bytes = work.at("bytes").get<double>(),
          .num_kernels = work.at("kernels").get<double>()};
}

double step_seconds(const ClusterOptions& options, const Case& one, const std::string& starter) {
  std::vector<std::string> words{"bench", "step", "--traced", "0", "--steps", std::to_string(options.steps)};
  append_config(words, one.config);
  MeasuredRun run({starter, "1"}, words, kWhere, "the run of " + one.name);
  return run.wait().at("step_ms").at("p25").get<double>() / 1e3;
}

LinkRate measure_link(const ClusterOptions& options, const std::string& starter) {
  MeasuredRun run({starter, std::to_string(options.ranks)}, {"bench", "collectives", "--json", "--rounds", "10"},
                  kWhere, fmt::format("`bench collectives` on {} ranks", options.ranks));
  std::vector<TimedReduce> reduces;
  const nlohmann::json said = run.wait();
  for (const auto& row : said.at("results")) {
    if (row.at("collective").get<std::string>() != "all_reduce") continue;
    reduces.push_back({options.ranks, row.at("bytes").get<double>(), row.at("seconds").get<double>()});
  }
  return fit_link(reduces);
}

int bench_cluster(const ClusterOptions& options) {
  if (fs::exists(options.out)) {
    throw UserError("--out", fmt::format("must name a new file, {} is there. Name another one, or move it away",
                                         options.out.string()));
  }
  const std::string starter = rank_starter(kWhere).string();
  std::vector<Case> cases = cases_of(options);
  const FileInMemory any_rates(to_toml(Cluster{}, ""));  // of which what a step has to do does not depend
  for (Case& one : cases) one.timed.work = work_of(one, any_rates.path());
  for (int round = 0; round < options.rounds; ++round) {  // by turns, so that what else the machine does hits all alike
    for (Case& one : cases) {
      const double seconds = step_seconds(options, one, starter);
      one.timed.seconds = round == 0 ? seconds : std::min(one.timed.seconds, seconds);
      print_progress(
          fmt::format("round {} of {}, {}: {:.1f} ms\n", round + 1, options.rounds, one.name, 1e3 * seconds));
    }
  }
  std::vector<TimedWork> steps;
  for (const Case& one : cases) steps.push_back(one.timed);
  Cluster cluster = fit_device(steps);
  cluster.name = options.name.empty() ? machine_name() : options.name;
  cluster.overlaps = false;  // on the CPU a rank's own thread moves the data
  cluster.devices_per_node =
      std::max(options.ranks, static_cast<int>(std::thread::hardware_concurrency()) / options.threads);
  cluster.node = cluster.network = measure_link(options, starter);
  std::string about = fmt::format(
      "Measured by `triptych bench cluster`, {} thread{} a rank; links by all-reduces of {} "
      "ranks.\nThe network between machines was not measured: it has the rates of one "
      "machine. Steps were of\n",
      options.threads, options.threads == 1 ? "" : "s", options.ranks);
  for (const fs::path& file : options.configs) about += "  " + file.string() + "\n";
  print("{:<60} {:>12} {:>12} {:>8}\n", "a step of", "measured, ms", "fitted, ms", "");
  for (const Case& one : cases) {
    const double fitted = cluster.seconds(one.timed.work);
    print("{:<60} {:>12.1f} {:>12.1f} {:>+7.1f}%\n", one.name, 1e3 * one.timed.seconds, 1e3 * fitted,
          100 * (fitted / one.timed.seconds - 1));
  }
  const std::string text = to_toml(cluster, about);
  write_file_atomically(options.out, text);
  print("\n{}\nwritten to {}\n", text, options.out.string());
  return 0;
}

}  // namespace

void register_bench_cluster(CLI::App& bench, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = bench.add_subcommand(
      "cluster", "Measures this machine's rates and writes them as a file for plans (configs/clusters)");
  const auto options = std::make_shared<ClusterOptions>();
  options->tasks = tasks;
  command
      ->add_option("config", options->configs,
                   "TOML files of runs whose steps are timed on one rank: those that are to be planned, or like them")
      ->check(CLI::ExistingFile)
      ->required();
  command->add_option("--set", options->overrides, "Overrides a key in all of them (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_option("--out", options->out, "The file to write, which must not be there")->required();
  command->add_option("--name", options->name, "Of the machine, for people")->default_str("this machine's name");
  command->add_option("--ranks", options->ranks, "Ranks of `bench collectives`, for the links")
      ->check(CLI::Range(2, 1024))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Threads of a rank (run.threads)")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--rounds", options->rounds, "How often each step is measured, all by turns; the fastest counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--steps", options->steps, "Timed steps of a round")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->footer(
      "Times steps of each config on one rank with the CPU backend, in fp32 and bf16, of its batch and of a quarter of "
      "it,\n"
      "and fits to them what products, attention, moved bytes and kernels take; then `bench collectives`, for "
      "messages.\n"
      "Prints how far the fitted steps are from the measured ones. Nothing else should run meanwhile.\n"
      "\n"
      "Example:\n"
      "  triptych bench cluster configs/bench_clip_small.toml configs/bench_vit_s16.toml --out this_machine.toml\n"
      "  triptych bench scaling configs/bench_clip_512.toml --ranks 1,2 --mesh dp --cluster this_machine.toml");
  command->callback([options, &run] { run = [options] { return bench_cluster(*options); }; });
}

}  // namespace triptych::launcher
