#include "launcher/bench_scaling.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "interop/new_folder.h"
#include "launcher/measured_run.h"
#include "launcher/ranks.h"
#include "launcher/scaling_plan.h"
#include "launcher/scaling_plots.h"
#include "launcher/scaling_result.h"
#include "launcher/step_prediction.h"
#include "training/cluster.h"
#include "training/run_inputs.h"

namespace triptych::launcher {
namespace {

struct ScalingOptions {
  explicit ScalingOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  std::vector<int> ranks{1, 2};
  std::vector<std::string> meshes{"dp"};
  std::string mode = "weak";
  int threads = 1;
  int rounds = 3;
  int steps = 6;
  int warmup = 2;
  bool data = false;
  std::filesystem::path cluster, hosts;  // may be empty
  std::string interface;
  std::filesystem::path out = "scaling";
};

std::vector<std::string> overrides_of(const ScalingOptions& options, const ScalingPoint& point) {
  std::vector<std::string> overrides = options.config.overrides;
  overrides.push_back(fmt::format("run.threads={}", options.threads));
  overrides.insert(overrides.end(), point.overrides.begin(), point.overrides.end());
  return overrides;
}

int ranks_of_a_run(const ScalingPoint& point) {
  return point.is_alone ? 1 : point.num_ranks;
}

// Before anything is measured: every mesh must be one that the config can be trained on.
std::vector<ScalingPoint> plan(const ScalingOptions& options) {
  const ConfigArguments& config = options.config;
  const RunConfig alone = load_run_config(config.file, config.overrides, config.tasks);
  const ScalingMode mode = options.mode == "weak" ? ScalingMode::kWeak : ScalingMode::kStrong;
  std::vector<ScalingPoint> points = plan_scaling(options.meshes, options.ranks, mode, alone.training.global_batch);
  for (const ScalingPoint& point : points) {
    if (point.is_alone && !options.hosts.empty()) {
      throw UserError("--mesh",
                      "`alone` must be compared on one machine: it is what that leaves to each run. Leave it "
                      "out, or --hosts");
    }
    load_run_config(config.file, overrides_of(options, point), config.tasks, MeshUse::kSteps, ranks_of_a_run(point));
  }
  return points;
}

// Before anything is measured, too: a loader gives no sample twice in a batch.
void require_data(const ScalingOptions& options, const std::vector<ScalingPoint>& points) {
  if (!options.data) return;
  const ConfigArguments& arguments = options.config;
  const RunConfig config = load_run_config(arguments.file, arguments.overrides, arguments.tasks);
  RunInputs inputs;
  open_data(config, inputs);
  open_tokenizer(config, inputs);
  const auto fewer = [](const ScalingPoint& a, const ScalingPoint& b) { return a.global_batch < b.global_batch; };
  const ScalingPoint& most = *std::max_element(points.begin(), points.end(), fewer);
  // Runs alone share the batch.
  const int64_t batch = most.global_batch / (most.is_alone ? most.num_ranks : 1);
  if (static_cast<uint64_t>(batch) <= inputs.dataset->size()) return;
  throw UserError("--data", fmt::format("the largest global batch must not be larger than the data set: {} rows on {}, "
                                        "found {} samples. Lower --ranks or training.global_batch, take --mode strong, "
                                        "or leave --data out",
                                        batch, most.name, inputs.dataset->size()));
}

// What each is expected to take; "alone", as a run of one rank, if what the machine leaves to each is not counted.
void predict(const ScalingOptions& options, std::vector<ScalingRuns>& runs) {
  if (options.cluster.empty()) return;
  Cluster::read(options.cluster);  // tells here what is wrong with it
  for (ScalingRuns& one : runs) {
    ConfigArguments arguments = options.config;
    arguments.overrides = overrides_of(options, one.point);
    one.planned = predict_step(arguments, options.cluster, options.data ? 2 : 1);
  }
}

// Of runs that were made at once, as of one: the slowest one's times, since ranks that know of each other would wait
// for it, and the ranks of all.
nlohmann::json joined(const std::vector<nlohmann::json>& runs) {
  nlohmann::json all = runs.front();
  for (std::size_t i = 1; i < runs.size(); ++i) {
    for (auto& [key, ms] : all.at("step_ms").items()) {
      ms = std::max(ms.get<double>(), runs[i].at("step_ms").at(key).get<double>());
    }
    for (const nlohmann::json& rank : runs[i].at("by_rank")) all.at("by_rank").push_back(rank);
  }
  return all;
}

// What starts so many ranks, with its arguments.
std::vector<std::string> starter_words(const ScalingOptions& options, const std::filesystem::path& starter,
                                       int num_ranks) {
  if (options.hosts.empty()) return {starter.string(), std::to_string(num_ranks)};
  std::vector<std::string> words{starter.string(), "--hosts", options.hosts.string()};
  if (!options.interface.empty()) words.insert(words.end(), {"--interface", options.interface});
  words.insert(words.end(), {"--ranks", std::to_string(num_ranks)});
  return words;
}

// What each run printed: one, or as many as there are ranks alone.
std::vector<nlohmann::json> measure(const ScalingOptions& options, const ScalingPoint& point,
                                    const std::filesystem::path& starter) {
  std::vector<std::string> arguments{"bench",
                                     "step",
                                     options.config.file.string(),
                                     "--steps",
                                     std::to_string(options.steps),
                                     "--warmup",
                                     std::to_string(options.warmup)};
  if (options.data) arguments.push_back("--data");
  for (const std::string& override : overrides_of(options, point)) {
    arguments.insert(arguments.end(), {"--set", override});
  }
  std::vector<std::unique_ptr<MeasuredRun>> runs;
  for (int i = 0; i < (point.is_alone ? point.num_ranks : 1); ++i) {
    runs.push_back(std::make_unique<MeasuredRun>(starter_words(options, starter, ranks_of_a_run(point)), arguments,
                                                 "bench scaling", fmt::format("the run on {}", point.name)));
  }
  std::vector<nlohmann::json> said;
  for (const std::unique_ptr<MeasuredRun>& run : runs) said.push_back(run->wait());
  return said;
}

int bench_scaling(const ScalingOptions& options) {
  for (const char* const variable : {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"}) {
    if (std::getenv(variable) == nullptr) continue;
    throw UserError("bench scaling", fmt::format("must be one process, which starts the ranks itself, found {} in the "
                                                 "environment. Start it without mpirun and run-ranks",
                                                 variable));
  }
  std::vector<ScalingPoint> points = plan(options);
  require_data(options, points);
  std::vector<ScalingRuns> runs;
  for (ScalingPoint& point : points) runs.push_back({std::move(point), {}, std::nullopt});
  const std::filesystem::path starter = rank_starter("bench scaling");
  { const interop::NewFolder can_be_made(options.out); }  // told now; made once there is something to put there
  const int most_busy = runs.back().point.num_ranks * options.threads;
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  if (options.hosts.empty() && most_busy > cores) {
    print_warning(
        fmt::format("[bench scaling] {} threads take turns on {} cores, so efficiencies say little of a machine "
                    "with enough. Measure with fewer --ranks or --threads",
                    most_busy, cores));
  }
  predict(options, runs);
  std::map<std::string, std::string> printed;  // by file
  for (int round = 1; round <= options.rounds; ++round) {
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const ScalingPoint& point = runs[i].point;
      const std::vector<nlohmann::json> said = measure(options, point, starter);
      for (std::size_t run = 0; run < said.size(); ++run) {
        const std::string which = said.size() > 1 ? fmt::format("_run_{}", run + 1) : "";
        printed[fmt::format("mesh_{}_round_{}{}.json", i + 1, round, which)] = said[run].dump() + "\n";
      }
      runs[i].rounds.push_back(joined(said));
      print_progress(fmt::format("round {} of {}, {}: {:.1f} ms a step\n", round, options.rounds, point.name,
                                 runs[i].rounds.back().at("step_ms").at("median").get<double>()));
    }
  }
  const std::vector<ScalingSummary> summaries = summarize(runs);
  const nlohmann::json& first = runs.front().rounds.front();
  print("{}, {}, {} scaling, {} {} a rank, {} data\n\n{}", first.value("device", ""), first.value("precision", ""),
        options.mode, options.threads, options.threads == 1 ? "thread" : "threads",
        options.data ? "the config's" : "synthetic", scaling_table(runs, summaries));
  if (!options.cluster.empty()) print("\n{}", prediction_table(runs, summaries));
  interop::NewFolder folder(options.out);
  std::filesystem::create_directory(folder.path() / "runs");
  for (const auto& [name, text] : printed) write_file_atomically(folder.path() / "runs" / name, text);
  write_file_atomically(folder.path() / "scaling.csv", scaling_csv(runs, summaries));
  write_file_atomically(folder.path() / "ranks.csv", ranks_csv(runs));
  for (const auto& [name, svg] : scaling_plots(runs, summaries)) write_file_atomically(folder.path() / name, svg);
  folder.commit();
  print("\nwritten to {}: scaling.csv, ranks.csv, throughput.svg, efficiency.svg, time.svg, memory.svg, runs/\n",
        options.out.string());
  return 0;
}

}  // namespace

void register_bench_scaling(CLI::App& bench, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command =
      bench.add_subcommand("scaling", "Times steps of a config on several meshes, and says what each more rank brings");
  const auto options = std::make_shared<ScalingOptions>(tasks);
  add_config_arguments(*command, options->config);
  command
      ->add_option("--ranks", options->ranks,
                   "Numbers of ranks of a --mesh that does not say its own; 1: the config on one rank, to compare with")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command
      ->add_option(
          "--mesh", options->meshes,
          "dp, cp, tp or pp, which gets all ranks, or a mesh such as dp=2,tp=2; other keys of [parallel] may "
          "follow, for more than one rank: pp,microbatches=8,schedule=1f1b; alone: runs of one rank at once, which "
          "know nothing of each other, for what the machine itself leaves to the slowest (repeatable)")
      ->type_name("MESH")
      ->allow_extra_args(false)
      ->capture_default_str();
  command
      ->add_option("--mode", options->mode,
                   "weak: training.global_batch is that of one rank, N ranks have N times as much; strong: all have it")
      ->check(CLI::IsMember({"weak", "strong"}))
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Threads of a rank (run.threads)")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--rounds", options->rounds, "How often each mesh is measured, all by turns")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--steps", options->steps, "Timed steps of a round")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command->add_option("--warmup", options->warmup, "Steps before these")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag(
      "--data", options->data,
      "Batches of the config's training set through its loader instead of synthetic ones: what steps wait "
      "for it is then a part of their time, loader. Ranks of a machine share its disks and cores");
  command
      ->add_option(
          "--cluster", options->cluster,
          "A file such as those of configs/clusters, of this machine: what it makes `triptych plan step` expect "
          "stands beside what is measured")
      ->check(CLI::ExistingFile);
  CLI::Option* const hosts =
      command
          ->add_option(
              "--hosts", options->hosts,
              "Start the ranks on several machines: a file with lines `HOST slots=RANKS`, as run-ranks has it; a "
              "mesh takes the first slots that it needs")
          ->check(CLI::ExistingFile);
  command->add_option("--interface", options->interface, "TCP over this network card alone, as run-ranks has it")
      ->needs(hosts);
  command->add_option("--out", options->out, "The folder that is made, with tables and plots")
      ->type_name("FOLDER")
      ->capture_default_str();
  command->footer(
      "Starts `triptych bench step` on each mesh itself, by turns, so that what else the machine does hits all alike.\n"
      "Data are synthetic, and the loader has no part in it, unless --data is given; `triptych bench loader` measures "
      "the\n"
      "loader alone.\n"
      "Efficiency is samples a second and rank over those of the mesh with fewest ranks: 1 is ideal in either mode.\n"
      "\n"
      "Writes into FOLDER: scaling.csv, a row a mesh; ranks.csv, each rank's time and memory by part; throughput.svg,\n"
      "efficiency.svg, time.svg, memory.svg; runs/, what each run printed. docs/performance.md explains the columns.\n"
      "\n"
      "Examples:\n"
      "  triptych bench scaling configs/bench_clip_512.toml --ranks 1,2 --mesh alone --mesh dp --mesh tp\n"
      "  triptych bench scaling configs/bench_clip_512.toml --ranks 1,2,4 --mesh pp,microbatches=8 --mesh dp=2,tp=2\n"
      "  triptych bench scaling configs/bench_clip_512.toml --ranks 1,2,4,8 --mode strong --out runs/strong\n"
      "  triptych bench scaling configs/quickstart.toml --ranks 1,2 --data");
  command->callback([options, &run] { run = [options] { return bench_scaling(*options); }; });
}

}  // namespace triptych::launcher
