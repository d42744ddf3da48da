#include "launcher/merge.h"

#include <filesystem>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "launcher/ranks.h"
#include "training/merge_adapters.h"

namespace triptych::launcher {
namespace {

struct MergeOptions {
  explicit MergeOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  std::string checkpoint = "latest";
  std::filesystem::path out;
};

}  // namespace

void register_merge(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = app.add_subcommand(
      "merge", "Adds the adapters of a checkpoint to their matrices, and saves a checkpoint of the plain model");
  const auto options = std::make_shared<MergeOptions>(tasks);
  add_config_arguments(*command, options->config);
  command->add_option("--checkpoint", options->checkpoint, "latest, a step or a path; of any mesh")
      ->capture_default_str();
  command->add_option("--out", options->out, "New folder for the checkpoint")->required();
  command->footer(
      "CONFIG is that of the run with adapters; evaluation.weights says which of its weights. The new checkpoint has\n"
      "no state of an optimizer: it is to be evaluated, with the config of the plain model, or to begin with.\n"
      "On as many ranks as are started: on the config's mesh if it has so many, else each is a replica.\n"
      "Examples:\n"
      "  triptych merge tuned.toml --checkpoint latest --out runs/merged\n"
      "  triptych eval plain.toml --checkpoint runs/merged\n"
      "  triptych train next.toml --init-from runs/merged");
  command->callback([options, &run] {
    run = [options] {
      return run_on_ranks(options->config, MeshUse::kForward, [&](const RunConfig& config, World& world) {
        const MergeResult result = merge_adapters(config, world, options->checkpoint, options->out);
        if (world.group().rank() == 0) {
          print("{} adapters of {} are merged: {}\n", result.num_adapters, result.from.string(),
                result.folder.string());
        }
        return 0;
      });
    };
  });
}

}  // namespace triptych::launcher
