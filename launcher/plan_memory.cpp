#include "launcher/plan_memory.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/console.h"
#include "base/text.h"
#include "launcher/backend.h"
#include "launcher/ranks.h"
#include "training/memory_plan.h"

namespace triptych::launcher {
namespace {

struct MemoryOptions {
  explicit MemoryOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  int batches = 2;
  bool json = false;
};

void print_table(const RunConfig& config, Recompute recompute, const std::vector<MemoryStats>& ranks) {
  for (std::size_t p = 0; p < ranks.size(); ++p) {
    const MemoryStats& rank = ranks[p];
    std::string line = fmt::format("{:<9} {:>4}  {:>10} ", recompute_name(recompute), p,
                                   human_bytes(static_cast<double>(rank.peak_used_bytes)));
    for (std::size_t i = 0; i < kNumMemoryParts; ++i) {
      const auto part = static_cast<MemoryPart>(i);
      line += fmt::format(" {:>{}}", human_bytes(static_cast<double>(rank.peak_by_part[part])),
                          std::max<std::size_t>(10, memory_part_name(part).size()));
    }
    print("{}{}\n", line, recompute == config.parallel.recompute ? "  *" : "");
  }
}

nlohmann::ordered_json to_json(const std::vector<MemoryStats>& ranks) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const MemoryStats& rank : ranks) {
    nlohmann::ordered_json one{{"peak_bytes", rank.peak_used_bytes}};
    for (std::size_t i = 0; i < kNumMemoryParts; ++i) {
      const auto part = static_cast<MemoryPart>(i);
      one["by_part"][memory_part_name(part)] = rank.peak_by_part[part];
    }
    all.push_back(one);
  }
  return all;
}

nlohmann::ordered_json to_json(const MemoryFit& fit) {
  return {
      {"recompute", recompute_name(fit.recompute)}, {"full_blocks", fit.full_blocks}, {"ranks", to_json(fit.ranks)}};
}

std::string describe(const MemoryFit& fit, double budget_mb) {
  std::string peaks;
  for (const MemoryStats& rank : fit.ranks) {
    peaks += fmt::format("{}{}", peaks.empty() ? "" : ", ", human_bytes(static_cast<double>(rank.peak_used_bytes)));
  }
  return fmt::format("a budget of {:g} MiB takes recompute = \"{}\"{}: {}", budget_mb, recompute_name(fit.recompute),
                     fit.full_blocks.empty() ? "" : fmt::format(" with {} in full", fmt::join(fit.full_blocks, ", ")),
                     peaks);
}

int plan_memory(const MemoryOptions& options) {
  hand_over_to("paper");
  require_backend("paper");
  RunConfig config =
      load_run_config(options.config.file, options.config.overrides, options.config.tasks, MeshUse::kPlan);
  nlohmann::ordered_json json;
  if (!options.json) {
    const ParallelOptions& p = config.parallel;
    print("{}, {}, {} microbatch{}: the most that a rank's device holds\n\n", mesh_text(p), p.schedule, p.microbatches,
          p.microbatches == 1 ? "" : "es");
    std::string head = fmt::format("{:<9} {:>4}  {:>10} ", "recompute", "pp", "all");
    for (std::size_t i = 0; i < kNumMemoryParts; ++i) {
      head += fmt::format(" {:>10}", memory_part_name(static_cast<MemoryPart>(i)));
    }
    print("{}\n", head);
  }
  for (const Recompute recompute : kRecomputes) {
    RunConfig of = config;
    of.parallel.recompute = recompute;
    const std::vector<MemoryStats> ranks = training::plan_memory(of, options.batches);
    if (options.json) {
      json[recompute_name(recompute)] = to_json(ranks);
    } else {
      print_table(config, recompute, ranks);
    }
  }
  if (!options.json) print("\n* as the config has it\n");
  const double budget_mb = config.parallel.memory_budget_mb;
  if (budget_mb > 0) {
    const std::optional<MemoryFit> fit =
        fit_memory(config, static_cast<std::size_t>(budget_mb * (1 << 20)), options.batches);
    if (options.json) json["fit"] = fit ? to_json(*fit) : nlohmann::ordered_json();
    if (!options.json)
      print("\n{}\n", fit ? describe(*fit, budget_mb)
                          : "no recomputation holds the budget: take more ranks, more "
                            "parallel.microbatches (not with gpipe, which keeps all of them) or a smaller batch");
  }
  if (options.json) print("{}\n", json.dump());
  return 0;
}

}  // namespace

void register_plan_memory(CLI::App& plan, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command =
      plan.add_subcommand("memory", "Counts what a config's ranks would hold of their devices' memory, by part");
  const auto options = std::make_shared<MemoryOptions>(tasks);
  add_config_arguments(*command, options->config);
  command
      ->add_option("--batches", options->batches,
                   "Batches on a device at a time: 2 in training, 1 in `triptych bench step`")
      ->check(CLI::Range(1, 2))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Bytes, as one JSON object");
  command->footer(
      "Runs steps of the engine on a device without memory, for each of recomputation's modes and for each pipeline\n"
      "rank, and counts what is allocated. Takes no memory and computes nothing, so a mesh may have any size. What "
      "the\n"
      "backend's libraries take beside that, and a run's evaluations, is not in it.\n"
      "\n"
      "Example:\n"
      "  triptych plan memory configs/models/clip_vit_l14.toml --set parallel.dp=64 --set parallel.tp=2");
  command->callback([options, &run] { run = [options] { return plan_memory(*options); }; });
}

}  // namespace triptych::launcher
