#include "launcher/train.h"

#include <memory>

#include <CLI/CLI.hpp>

#include "launcher/ranks.h"
#include "training/trainer.h"

namespace triptych::launcher {

void register_train(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = app.add_subcommand("train", "Trains the model of a config, or goes on with a run");
  const auto arguments = std::make_shared<ConfigArguments>(tasks);
  const auto request = std::make_shared<TrainingRequest>();
  add_config_arguments(*command, *arguments);
  command
      ->add_option(
          "--resume", request->resume,
          "Go on from a checkpoint of this run, on any mesh: latest, a step or a path; auto: from the last one "
          "that is sound, or a new run if none was saved")
      ->type_name("latest|auto|STEP|PATH");
  command
      ->add_option("--allow-change", request->allow_change,
                   "A key that may differ from the checkpoint's config, though the rest learns otherwise then "
                   "(repeatable)")
      ->type_name("KEY")
      ->allow_extra_args(false);
  command->add_flag("--overwrite", request->overwrite,
                    "Let a new run replace the one in run.dir: its checkpoints by name, and its files; nothing else");
  command->footer(
      "Starts as many ranks as parallel.pp * dp * tp says; without mpirun that is one.\n"
      "Examples:\n"
      "  triptych train configs/quickstart.toml\n"
      "  mpirun -np 4 triptych train configs/quickstart.toml --set parallel.tp=2 --set parallel.pp=2\n"
      "  mpirun -np 2 triptych train configs/quickstart.toml --set parallel.dp=2 --resume latest\n"
      "Exit code: 0 done (or nothing was left to do), 1 the world failed (disk, peer, a damaged checkpoint), 2 the "
      "config,\ndata or run.dir are wrong, or another run is at work there. docs/checkpoints.md tells more.");
  command->callback([arguments, request, &run] {
    run = [arguments, request] {
      return run_on_ranks(*arguments, MeshUse::kSteps, [&](const RunConfig& config, World& world) {
        train(config, world, *request);
        return 0;
      });
    };
  });
}

}  // namespace triptych::launcher
