#include "launcher/plan_stages.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/console.h"
#include "base/text.h"
#include "execution/partition_model.h"
#include "launcher/backend.h"
#include "launcher/program_output.h"
#include "launcher/ranks.h"
#include "parallel/pipeline/simulate.h"
#include "training/block_timing.h"
#include "training/step_plan.h"

namespace triptych::launcher {
namespace {

constexpr const char* kWhere = "plan stages";
using Json = nlohmann::ordered_json;

struct StagesOptions {
  explicit StagesOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  std::filesystem::path cluster;  // may be empty
  bool is_measured = false;
  bool json = false;
  int steps = 3;
};

std::string short_flops(double value) {
  for (const char* unit : {" ", " k", " M", " G", " T", " P"}) {
    if (value < 1000) return fmt::format("{:.3g}{}FLOP", value, unit);
    value /= 1000;
  }
  return fmt::format("{:.3g} EFLOP", value);
}

std::string milliseconds(double seconds) {
  return fmt::format("{:.3f} ms", 1e3 * seconds);
}

std::vector<double> sums_of(const Partition& partition, const std::vector<double>& costs) {
  std::vector<double> sums;
  for (std::size_t s = 0; s + 1 < partition.begin.size(); ++s) {
    double& sum = sums.emplace_back(0);
    for (int i = partition.begin[s]; i < partition.begin[s + 1]; ++i) sum += costs[static_cast<std::size_t>(i)];
  }
  return sums;
}

double most_of(const std::vector<double>& values) {
  return *std::max_element(values.begin(), values.end());
}

// Stages with their blocks.
//   unit   of the costs: "a sample"
//   held   by pipeline rank, bytes; empty: not known
void print_stages(const ModelSpec& model, const Schedule& schedule, const Partition& partition,
                  const std::vector<double>& costs, const std::function<std::string(double)>& text_of,
                  std::string_view unit, const std::vector<double>& held) {
  const std::vector<double> sums = sums_of(partition, costs);
  const double most = most_of(sums);
  for (std::size_t s = 0; s < sums.size(); ++s) {
    const int rank = schedule.rank_of_stage[s];
    const std::string memory =
        held.empty() ? "" : fmt::format(", the rank holds {}", human_bytes(held[static_cast<std::size_t>(rank)]));
    print("stage {}, rank {}: {} {}, {:.0f} % of the slowest stage's{}\n", s, rank, text_of(sums[s]), unit,
          most > 0 ? 100 * sums[s] / most : 100, memory);
    for (int i = partition.begin[s]; i < partition.begin[s + 1]; ++i) {
      const auto block = static_cast<std::size_t>(i);
      print("  {:<32} {:>13}\n", model.blocks[block].name, text_of(costs[block]));
    }
  }
}

RunConfig planned_config(const StagesOptions& options) {
  return load_run_config(options.config.file, options.config.overrides, options.config.tasks, MeshUse::kPlan);
}

// What triptych-paper says of blocks, as JSON.
int print_costs(const StagesOptions& options) {
  hand_over_to("paper");
  require_backend("paper");
  const RunConfig config = planned_config(options);
  const BlockCosts costs = plan_blocks(config, options.cluster.empty() ? Cluster{} : Cluster::read(options.cluster));
  Json json = Json::array();
  const ModelSpec model = config.task->model();
  for (std::size_t i = 0; i < costs.seconds.size(); ++i) {
    Json& block = json.emplace_back(Json{{"name", model.blocks[i].name}});
    if (!options.cluster.empty()) block["seconds"] = costs.seconds[i];
    block["fixed_bytes"] = costs.fixed_bytes[i];
    block["kept_bytes"] = costs.kept_bytes[i];
  }
  print("{}\n", json.dump());
  return 0;
}

// Bytes that each pipeline rank would hold with these cuts, as `plan memory` counts them.
std::vector<double> held_with(const StagesOptions& options, const RunConfig& config, const std::string& cuts) {
  std::vector<std::string> words{"plan", "memory", "--json"};
  ConfigArguments with = options.config;
  with.overrides.push_back("parallel.cuts=" + cuts);
  append_config(words, with);
  const auto plan = nlohmann::json::parse(paper_output(kWhere, "leave --cluster and --measured out", std::move(words)));
  std::vector<double> held;
  for (const auto& rank : plan.at(recompute_name(config.parallel.recompute))) {
    held.push_back(rank.at("peak_bytes").get<double>());
  }
  return held;
}

struct TimedBlocks {
  std::vector<double> seconds, fixed_bytes, kept_bytes;
};

TimedBlocks timed_blocks(const StagesOptions& options, const RunConfig& config) {
  std::vector<std::string> words{"plan", "stages", "--json"};
  if (!options.cluster.empty()) words.insert(words.end(), {"--cluster", options.cluster.string()});
  append_config(words, options.config);
  const auto blocks =
      nlohmann::json::parse(paper_output(kWhere, "leave --cluster and --measured out", std::move(words)));
  TimedBlocks timed;
  for (const auto& block : blocks) {
    if (!options.is_measured) timed.seconds.push_back(block.at("seconds").get<double>());
    timed.fixed_bytes.push_back(block.at("fixed_bytes").get<double>());
    timed.kept_bytes.push_back(block.at("kept_bytes").get<double>());
  }
  if (options.is_measured) {
    const std::unique_ptr<World> world = make_world({});
    if (world->group().size() > 1) {
      throw UserError(kWhere, fmt::format("times blocks on one rank, found {}. Start it without mpirun and run-ranks",
                                          world->group().size()));
    }
    timed.seconds = time_blocks(config, world->group(), rank_place(config, *world), options.steps);
  }
  return timed;
}

int plan_timed_stages(const StagesOptions& options) {
  if (options.is_measured) require_backend("cpu");
  const RunConfig config = planned_config(options);
  const ModelSpec model = config.task->model();
  const std::vector<ObjectiveSpec> objectives = config.task->objectives();
  const Schedule schedule = schedule_of(config);
  const int num_stages = schedule.num_stages;
  const TimedBlocks blocks = timed_blocks(options, config);

  double limit = config.parallel.memory_budget_mb * (1 << 20);
  if (limit == 0 && !options.cluster.empty()) limit = Cluster::read(options.cluster).memory_gb * 1e9;
  const Simulation simulation = simulate(schedule, StageCosts::uniform(num_stages, 1, 2));
  const std::vector<double> graphs(simulation.peak_stage_activations.begin(), simulation.peak_stage_activations.end());
  std::optional<StageMemory> memory;
  if (limit > 0) {
    memory = {.fixed = blocks.fixed_bytes,
              .kept = blocks.kept_bytes,
              .graphs = graphs,
              .limit = limit * schedule.num_ranks / num_stages};  // a rank's stages share it
  }
  const Partition best = partition_model(model, objectives, num_stages, blocks.seconds, memory);
  std::vector<std::string> names;
  for (int s = 1; s < num_stages; ++s) {
    names.push_back(
        fmt::format("\"{}\"", model.blocks[static_cast<std::size_t>(best.begin[static_cast<std::size_t>(s)])].name));
  }
  const std::string cuts = fmt::format("[{}]", fmt::join(names, ", "));
  const std::vector<double> held = held_with(options, config, cuts);
  if (limit > 0 && most_of(held) > limit) {
    throw UserError(kWhere, fmt::format("every rank must hold at most {}, the best cut found, {}, holds {}. Use more "
                                        "stages, smaller microbatches or parallel.recompute, or give more memory",
                                        human_bytes(limit), cuts, human_bytes(most_of(held))));
  }
  print_stages(model, schedule, best, blocks.seconds, milliseconds, "a microbatch", held);
  const Partition now = partition_model(model, objectives, num_stages, config.parallel.cuts);
  print("\nslowest stage: {}; {}: {}\n", milliseconds(most_of(sums_of(best, blocks.seconds))),
        config.parallel.cuts.empty() ? "cut by FLOPs" : "with the config's parallel.cuts",
        milliseconds(most_of(sums_of(now, blocks.seconds))));
  if (num_stages > 1) print("parallel.cuts = {}\n", cuts);
  return 0;
}

int plan_stages(const StagesOptions& options) {
  if (options.json) return print_costs(options);
  if (options.is_measured || !options.cluster.empty()) return plan_timed_stages(options);
  const RunConfig config = planned_config(options);
  const ModelSpec model = config.task->model();
  const Schedule schedule = schedule_of(config);
  std::vector<double> flops;
  for (const BlockSpec& block : model.blocks) flops.push_back(block.forward_flops + block.backward_flops);
  print_stages(model, schedule,
               partition_model(model, config.task->objectives(), schedule.num_stages, config.parallel.cuts), flops,
               short_flops, "a sample", {});
  return 0;
}

}  // namespace

void register_plan_stages(CLI::App& plan, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = plan.add_subcommand(
      "stages", "Lists a config's pipeline stages with what their blocks cost, and finds better cuts");
  const auto options = std::make_shared<StagesOptions>(tasks);
  add_config_arguments(*command, options->config);
  CLI::Option* const cluster =
      command
          ->add_option("--cluster", options->cluster,
                       "Cut by the time of blocks, as planned on a cluster: a file such as those of configs/clusters")
          ->check(CLI::ExistingFile);
  CLI::Option* const measured = command
                                    ->add_flag("--measured", options->is_measured,
                                               "Cut by the time of blocks, as measured on a rank of this machine")
                                    ->excludes(cluster);
  command->add_option("--steps", options->steps, "Steps to measure, of which the fastest counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->needs(measured);
  command->add_flag("--json", options->json, "Instead: what each block holds, and takes on the --cluster, as JSON")
      ->excludes(measured);
  command->footer(
      "Stages are those of parallel.pp, parallel.virtual_stages and parallel.schedule. Without --cluster and "
      "--measured\n"
      "those that a run has are listed, with matrix-product FLOPs of a sample: cut where the slowest is fastest by "
      "these,\n"
      "or in front of the blocks that parallel.cuts names.\n"
      "\n"
      "With either, blocks are timed (each as a stage of its own; forward and backward of a microbatch), and cut "
      "where\n"
      "the slowest stage is fastest of all cuts that memory holds: parallel.memory_budget_mb, else the cluster's\n"
      "memory_gb, else any. What ranks then hold is what `triptych plan memory` counts. Prints the line "
      "`parallel.cuts`\n"
      "for the config.\n"
      "\n"
      "Example:\n"
      "  triptych plan stages configs/quickstart.toml --set parallel.pp=3\n"
      "  triptych plan stages configs/quickstart.toml --set parallel.pp=3 --measured\n"
      "  triptych plan stages configs/quickstart.toml --set parallel.pp=2 --set 'parallel.cuts=[\"text.embed\"]'");
  command->callback([options, &run] { run = [options] { return plan_stages(*options); }; });
}

}  // namespace triptych::launcher
