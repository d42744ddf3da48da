#include "launcher/train.h"

#include <cstdint>
#include <limits>
#include <memory>

#include <CLI/CLI.hpp>

#include "base/console.h"
#include "launcher/ranks.h"
#include "launcher/step_prediction.h"
#include "launcher/stop_signals.h"
#include "parallel/agreement.h"
#include "training/cluster.h"
#include "training/trainer.h"

namespace triptych::launcher {
namespace {

// EX_TEMPFAIL of sysexits.h: to be tried again.
constexpr int kStoppedExitCode = 75;

// What the first rank's report shall say was expected. A file that is none is the user's error; a plan that cannot be
// made is no reason not to train.
std::optional<PlannedStep> planned_step(const RunConfig& config, const ConfigArguments& arguments, Group& world) {
  if (config.run.cluster.empty()) return std::nullopt;
  std::optional<PlannedStep> planned;
  together(world, [&] {
    if (world.rank() != 0) return;
    const std::string name = Cluster::read(config.run.cluster).name;
    try {
      const StepPrediction step = predict_step(arguments, config.run.cluster, 2);
      planned = {.cluster = name.empty() ? config.run.cluster : name, .step_ms = step.step_ms, .peak_mb = step.peak_mb};
      for (const auto& [part, ms] : step.part_ms) {
        if (part != "compute" && part != "optimizer") planned->wait_ms += ms;
      }
    } catch (const Error& error) {
      print_warning(fmt::format("the report goes without a plan of the steps: {}", error.what()));
    }
  });
  return planned;
}

}  // namespace

void register_train(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command = app.add_subcommand("train", "Trains the model of a config, or resumes a run");
  const auto arguments = std::make_shared<ConfigArguments>(tasks);
  const auto request = std::make_shared<TrainingRequest>();
  add_config_arguments(*command, *arguments);
  CLI::Option* const resume =
      command
          ->add_option(
              "--resume", request->resume,
              "Continue from a checkpoint of this run, on any mesh: latest, a step or a path; auto: from the last "
              "one that is sound, or a new run if none was saved")
          ->type_name("latest|auto|STEP|PATH");
  command
      ->add_option("--allow-change", request->allow_change,
                   "A key that may differ from the checkpoint's config, although the rest of the run then learns "
                   "differently (repeatable)")
      ->type_name("KEY")
      ->allow_extra_args(false)
      ->needs(resume);
  const auto init_from = std::make_shared<std::string>();
  command
      ->add_option("--init-from", *init_from,
                   "A new run begins with the parameters of another's checkpoint that its model has by name: a step's "
                   "folder, or the other run's. Sets init.from, and [init] in the config says more; not read again "
                   "when the run is resumed")
      ->type_name("PATH");
  command->add_flag("--overwrite", request->overwrite,
                    "Let a new run replace the one in run.dir: its checkpoints by name, and its files; nothing else");
  command
      ->add_option("--trace-from", request->trace.first,
                   "Trace what all ranks do from this step on, counted from 1, into run.dir/trace_STEP.json, which "
                   "chrome://tracing and ui.perfetto.dev show: the schedule, blocks, backwards, operations of groups, "
                   "waits (docs/watching.md)")
      ->check(CLI::Range(int64_t{1}, std::numeric_limits<int64_t>::max()));
  command->add_option("--trace-steps", request->trace.count, "How many steps")
      ->check(CLI::Range(1, 1000))
      ->needs("--trace-from")
      ->capture_default_str();
  command->footer(
      "Needs parallel.pp * dp * cp * tp ranks: mpirun or launcher/run-ranks starts them; alone it is one.\n"
      "Examples:\n"
      "  triptych train configs/quickstart.toml\n"
      "  mpirun -np 4 triptych train configs/quickstart.toml --set parallel.tp=2 --set parallel.pp=2\n"
      "  mpirun -np 2 triptych train configs/quickstart.toml --set parallel.dp=2 --resume latest\n"
      "  triptych train configs/fashion_mnist.toml --init-from runs/pretraining\n"
      "SIGTERM, SIGINT, SIGHUP, SIGUSR1 or SIGUSR2 to any rank: all finish the step, save and stop; a second\n"
      "one ends them at once. docs/operations.md says which one a scheduler should send.\n"
      "Exit code: 0 done (or nothing was left to do), 75 stopped by a signal and saved (continue with --resume "
      "latest),\n"
      "1 something outside failed (disk, peer, a damaged checkpoint, numbers that are not finite), 2 the config, data "
      "or\n"
      "run.dir are wrong, or another run is at work there. docs/checkpoints.md and docs/operations.md say more.");
  command->callback([arguments, request, init_from, &run] {
    if (!init_from->empty()) arguments->overrides.push_back(fmt::format("init.from=\"{}\"", *init_from));
    run = [arguments, request] {
      take_stop_signals();  // before any other thread is there
      return run_on_ranks(*arguments, MeshUse::kSteps, [&](const RunConfig& config, World& world) {
        TrainingRequest watched = *request;
        watched.on_start = keep_stop_signals;
        watched.stop_signal = kept_stop_signal;
        watched.planned = planned_step(config, *arguments, world.group());
        return train(config, world, watched).stop_signal == 0 ? 0 : kStoppedExitCode;
      });
    };
  });
}

}  // namespace triptych::launcher
