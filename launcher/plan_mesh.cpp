#include "launcher/plan_mesh.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/console.h"
#include "base/file.h"
#include "base/text.h"
#include "interop/new_folder.h"
#include "launcher/backend.h"
#include "launcher/mesh_simulation.h"
#include "launcher/ranks.h"
#include "parallel/pipeline/schedules.h"
#include "training/memory_plan.h"
#include "training/mesh_search.h"

namespace triptych::launcher {
namespace {

struct MeshOptions {
  explicit MeshOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  std::string cluster;
  int devices = 8;
  int most_cp = 1;
  int shown = 8;
  int simulate = 0;
  int batches = 2;
  bool json = false;
  std::filesystem::path out;  // may be empty
  std::vector<std::string> schedules{"1f1b", "interleaved", "zb_v"};
};

constexpr int kMostDevices = 65536;

std::string order_of(const ParallelOptions& p) {
  return p.mesh.pp == 1 && p.microbatches == 1 ? "1" : fmt::format("{} {}", p.microbatches, p.schedule);
}

// What a step's time goes to, the largest first: "compute 71 %, bubble 20 %, dp 9 %".
std::vector<std::pair<std::string, double>> parts_of(const StepPlan& step) {
  std::vector<std::pair<std::string, double>> parts{{"compute", step.compute_seconds}, {"bubble", step.bubble_seconds}};
  for (const auto& [group, time] : step.waits) parts.emplace_back(group, time);
  std::erase_if(parts, [&](const auto& part) { return part.second < 0.005 * step.seconds; });
  std::stable_sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return parts;
}

std::string describe_parts(const StepPlan& step) {
  std::string text;
  for (const auto& [name, time] : parts_of(step)) {
    text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ", name, 100 * time / step.seconds);
  }
  return text;
}

using Json = nlohmann::ordered_json;

Json to_json(const MeshPlan& plan) {
  const ParallelOptions& p = plan.parallel;
  Json json{{"pp", p.mesh.pp},
            {"dp", p.mesh.dp},
            {"cp", p.mesh.cp},
            {"tp", p.mesh.tp},
            {"zero", p.zero},
            {"zero_group", p.mesh.dp_near},
            {"tp_pieces", p.tp_pieces},
            {"schedule", p.schedule},
            {"microbatches", p.microbatches},
            {"recompute", recompute_name(p.recompute)},
            {"seconds", plan.step.seconds},
            {"compute_seconds", plan.step.compute_seconds},
            {"optimizer_seconds", plan.step.optimizer_seconds},
            {"bubble_seconds", plan.step.bubble_seconds},
            {"wait_seconds", Json::object()},
            {"peak_bytes", peak_bytes(plan.step.ranks)},
            {"peak_bytes_by_part", Json::object()}};
  const auto largest = std::max_element(
      plan.step.ranks.begin(), plan.step.ranks.end(),
      [](const MemoryStats& a, const MemoryStats& b) { return a.peak_used_bytes < b.peak_used_bytes; });
  for (std::size_t i = 0; i < kNumMemoryParts; ++i) {
    const auto part = static_cast<MemoryPart>(i);
    json["peak_bytes_by_part"][memory_part_name(part)] = largest->peak_by_part[part];
  }
  const Work& work = plan.step.work;
  json["work"] = {{"product_flops", work.product_flops},
                  {"half_product_flops", work.half_product_flops},
                  {"attention_flops", work.attention_flops},
                  {"half_attention_flops", work.half_attention_flops},
                  {"bytes", work.bytes},
                  {"kernels", work.num_kernels}};
  for (const auto& [group, time] : plan.step.waits) json["wait_seconds"][group] = time;
  return json;
}

void print_head() {
  print("{:<42} {:<16} {:<10} {:>9} {:>11} {:>8}  {}\n", "mesh", "microbatches", "recompute", "ms a step", "samples/s",
        "memory", "where the time goes");
}

void print_plan(const MeshPlan& plan, int64_t batch) {
  print("{:<42} {:<16} {:<10} {:>9.1f} {:>11.0f} {:>8}  {}\n", mesh_text(plan.parallel), order_of(plan.parallel),
        recompute_name(plan.parallel.recompute), 1e3 * plan.step.seconds,
        static_cast<double>(batch) / plan.step.seconds, human_bytes(static_cast<double>(peak_bytes(plan.step.ranks))),
        describe_parts(plan.step));
}

MeshSearch search_of(const MeshOptions& options, int devices, int64_t batch) {
  const auto config_with = [&options, batch](const std::vector<std::string>& more) {
    std::vector<std::string> overrides = options.config.overrides;
    overrides.push_back(fmt::format("training.global_batch={}", batch));
    overrides.insert(overrides.end(), more.begin(), more.end());
    return load_run_config(options.config.file, overrides, options.config.tasks, MeshUse::kPlan);
  };
  return {
      .num_devices = devices, .most_cp = options.most_cp, .schedules = options.schedules, .config_with = config_with};
}

// The best mesh of ever more devices, each with the same share of a batch that grows with them.
void simulate(const RunConfig& config, const Cluster& cluster, const MeshOptions& options) {
  print("samples of a device: {}; efficiency against one device\n\n", config.training.global_batch);
  print("{:>8}  {:>10}  {:<32}  {:<42} {}\n", "devices", "efficiency", "", "mesh", "where the time goes");
  FastestMesh fastest(cluster);
  std::vector<SimulatedMesh> meshes;
  for (int devices = 1; devices <= options.simulate; devices *= 2) {
    const int64_t batch = config.training.global_batch * devices;
    meshes.push_back({devices, batch, fastest.find(search_of(options, devices, batch))});
    const double share = efficiency(meshes.back(), meshes.front());
    print("{:>8}  {:>9.1f} %  {:<32}  {:<42} {}\n", devices, 100 * share,
          std::string(static_cast<std::size_t>(std::clamp(32 * share, 0.0, 32.0)), '#'),
          mesh_text(meshes.back().plan.parallel), describe_parts(meshes.back().plan.step));
  }
  print("\n{}", limits_text(meshes));
  if (options.out.empty()) return;
  interop::NewFolder folder(options.out);
  for (const auto& [name, text] : simulation_files(meshes)) write_file_atomically(folder.path() / name, text);
  folder.commit();
  print("written to {}: scaling.csv, efficiency.svg, time.svg\n", options.out.string());
}

int plan_mesh(const MeshOptions& options) {
  hand_over_to("paper");
  require_backend("paper");
  const Cluster cluster = Cluster::read(options.cluster);
  const std::vector<std::string> known = schedule_names();
  for (const std::string& schedule : options.schedules) {
    if (std::ranges::find(known, schedule) != known.end()) continue;
    throw UserError("--schedules",
                    fmt::format("must be of {}, found {}. Name one of them", fmt::join(known, ", "), schedule));
  }
  const RunConfig config =
      load_run_config(options.config.file, options.config.overrides, options.config.tasks, MeshUse::kPlan);
  if (!options.out.empty()) const interop::NewFolder can_be_made(options.out);  // told now
  if (!options.json) print("{}\n", cluster.name.empty() ? options.cluster : cluster.name);
  if (options.simulate > 0) {
    simulate(config, cluster, options);
    return 0;
  }
  const std::vector<MeshPlan> plans =
      search_meshes(cluster, search_of(options, options.devices, config.training.global_batch));
  if (options.json) {
    Json all = Json::array();
    for (const MeshPlan& plan : plans) all.push_back(to_json(plan));
    print("{}\n", all.dump());
    return 0;
  }
  print("{} devices, batch {}, {}: {} ways that fit, the fastest first\n\n", options.devices,
        config.training.global_batch, precision_name(config.training.precision), plans.size());
  print_head();
  for (std::size_t i = 0; i < std::min(plans.size(), static_cast<std::size_t>(options.shown)); ++i) {
    print_plan(plans[i], config.training.global_batch);
  }
  return 0;
}

// A run with a memory budget recomputes what that takes.
void take_budget(RunConfig& config, int num_batches) {
  const double budget_mb = config.parallel.memory_budget_mb;
  if (budget_mb == 0) return;
  const std::optional<MemoryFit> fit = fit_memory(config, static_cast<std::size_t>(budget_mb * (1 << 20)), num_batches);
  if (!fit) {
    throw UserError("parallel.memory_budget_mb",
                    fmt::format("must hold what a rank needs, found {:g} MiB. `triptych plan memory` says what each "
                                "recomputation holds",
                                budget_mb));
  }
  config.parallel.recompute = fit->recompute;
  config.parallel.full_blocks = fit->full_blocks;
}

int plan_step_as_configured(const MeshOptions& options) {
  hand_over_to("paper");
  require_backend("paper");
  const Cluster cluster = Cluster::read(options.cluster);
  RunConfig config =
      load_run_config(options.config.file, options.config.overrides, options.config.tasks, MeshUse::kPlan);
  take_budget(config, options.batches);
  const MeshPlan plan{config.parallel, plan_step(config, cluster, options.batches)};
  if (options.json) {
    print("{}\n", to_json(plan).dump());
    return 0;
  }
  print_head();
  print_plan(plan, config.training.global_batch);
  return 0;
}

void add_cluster(CLI::App& command, MeshOptions& options) {
  add_config_arguments(command, options.config);
  command.add_option("--cluster", options.cluster, "A file such as those of configs/clusters")
      ->check(CLI::ExistingFile)
      ->required();
  command.add_flag("--json", options.json, "Seconds and bytes, as JSON");
}

}  // namespace

void register_plan_mesh(CLI::App& plan, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = plan.add_subcommand("mesh", "Lists the fastest ways to share a run out over a cluster's devices");
  const auto options = std::make_shared<MeshOptions>(tasks);
  add_cluster(*command, *options);
  command->add_option("--devices", options->devices, "Devices to share it out over")
      ->check(CLI::Range(1, kMostDevices))
      ->capture_default_str();
  command->add_option("--max-cp", options->most_cp, "Ranks that may share a sequence")
      ->check(CLI::Range(1, kMostDevices))
      ->capture_default_str();
  command->add_option("--schedules", options->schedules, "Of pipelines, to try")->delimiter(',')->capture_default_str();
  command->add_option("--show", options->shown, "Ways to show")->check(CLI::Range(1, 1000))->capture_default_str();
  CLI::Option* const simulated =
      command
          ->add_option("--simulate", options->simulate,
                       "Instead: the best of 1, 2, 4, ... devices up to so many, the config's batch on each")
          ->check(CLI::Range(1, kMostDevices))
          ->excludes("--json")
          ->excludes("--devices")
          ->excludes("--show");
  command
      ->add_option(
          "--out", options->out,
          "With --simulate: a folder that is made, with scaling.csv, a row for each number of devices, and two "
          "pictures: efficiency.svg, and time.svg, a step's time by part")
      ->type_name("FOLDER")
      ->needs(simulated);
  command->footer(
      "Runs steps of the engine on a device that computes nothing, and puts the cluster's rates to what they ask for.\n"
      "\n"
      "--simulate plans no mesh of which a bound says that another is faster; behind its table it says what limits the "
      "last\n"
      "of them. The config's training.global_batch is that of one device.\n"
      "\n"
      "Examples:\n"
      "  triptych plan mesh configs/models/clip_vit_l14.toml --cluster configs/clusters/h100.toml --devices 64\n"
      "  triptych plan mesh configs/models/clip_vit_l14.toml --cluster configs/clusters/h100.toml --simulate 1024 "
      "--set "
      "training.global_batch=128 --out simulated");
  command->callback([options, &run] { run = [options] { return plan_mesh(*options); }; });

  CLI::App* step =
      plan.add_subcommand("step", "What a config's step would take on a cluster, on the config's own mesh");
  const auto of_step = std::make_shared<MeshOptions>(tasks);
  add_cluster(*step, *of_step);
  step->add_option("--batches", of_step->batches,
                   "Batches on a device at a time: 2 in training, 1 in `triptych bench step`")
      ->check(CLI::Range(1, 2))
      ->capture_default_str();
  step->callback([of_step, &run] { run = [of_step] { return plan_step_as_configured(*of_step); }; });
}

}  // namespace triptych::launcher
