#include "launcher/train.h"

#include <memory>

#include <CLI/CLI.hpp>

#include "launcher/ranks.h"
#include "launcher/stop_signals.h"
#include "training/trainer.h"

namespace triptych::launcher {
namespace {

// EX_TEMPFAIL of sysexits.h: to be tried again.
constexpr int kStoppedExitCode = 75;

}  // namespace

void register_train(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = app.add_subcommand("train", "Trains the model of a config, or goes on with a run");
  const auto arguments = std::make_shared<ConfigArguments>(tasks);
  const auto request = std::make_shared<TrainingRequest>();
  add_config_arguments(*command, *arguments);
  command
      ->add_option("--resume", request->resume,
                   "Go on from a checkpoint of this run, on any mesh: latest, a step or a path")
      ->type_name("latest|STEP|PATH");
  command->add_flag("--overwrite", request->overwrite, "Let a new run replace the one in run.dir");
  command->footer(
      "Starts as many ranks as parallel.pp * dp * tp says; without mpirun that is one.\n"
      "Examples:\n"
      "  triptych train configs/quickstart.toml\n"
      "  mpirun -np 4 triptych train configs/quickstart.toml --set parallel.tp=2 --set parallel.pp=2\n"
      "  mpirun -np 2 triptych train configs/quickstart.toml --set parallel.dp=2 --resume latest\n"
      "SIGTERM, SIGINT, SIGHUP, SIGUSR1 or SIGUSR2 to any rank: all stop behind the step in work and save; a second\n"
      "one ends them at once. docs/operations.md says what a scheduler is to send.\n"
      "Exit code: 0 done, 75 stopped by a signal and saved (go on with --resume latest), 1 the world failed (disk,\n"
      "peer, numbers that are not finite), 2 the config or data are wrong.");
  command->callback([arguments, request, &run] {
    run = [arguments, request] {
      return run_on_ranks(*arguments, MeshUse::kSteps, [&](const RunConfig& config, World& world) {
        StopSignals signals;
        TrainingRequest watched = *request;
        watched.on_start = [&signals] { signals.begin(); };
        watched.stop_signal = &StopSignals::arrived;
        return train(config, world, watched).stop_signal == 0 ? 0 : kStoppedExitCode;
      });
    };
  });
}

}  // namespace triptych::launcher
