#include "launcher/verify.h"

#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "launcher/ranks.h"
#include "parallel/pipeline/schedules.h"
#include "training/session.h"
#include "training/verify.h"

namespace triptych::launcher {
namespace {

struct VerifyOptions {
  explicit VerifyOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  double tolerance = 1e-5;
  bool all = false;
};

std::string describe(const RunConfig& config) {
  const ParallelOptions& p = config.parallel;
  return fmt::format("pp {} dp {} cp {} tp {}  {}  {} microbatches  sequence_parallel {}  recompute {}  zero {}",
                     p.mesh.pp, p.mesh.dp, p.mesh.cp, p.mesh.tp, p.schedule, p.microbatches, p.sequence_parallel,
                     recompute_name(p.recompute), p.zero);
}

// Every schedule whose stages the model has blocks for, 1, 2 and 4 microbatches, with and without sequence parallelism
// and recomputation.
std::vector<RunConfig> all_combinations(RunConfig config, bool is_first) {
  const int num_blocks = static_cast<int>(config.task->model().blocks.size());
  std::vector<RunConfig> all;
  config.parallel.virtual_stages = 0;
  for (const std::string& schedule : schedule_names()) {
    const int num_stages = config.parallel.mesh.pp * schedule_kind(schedule).usual_virtual_stages();
    if (num_stages > num_blocks) {
      if (is_first)
        print("left out: {}, which has {} stages here; the model has {} blocks\n", schedule, num_stages, num_blocks);
      continue;
    }
    for (const int microbatches : {1, 2, 4}) {
      for (const bool sequence_parallel : {false, true}) {
        for (const Recompute recompute : kRecomputes) {
          config.parallel.schedule = schedule;
          config.parallel.microbatches = microbatches;
          config.parallel.sequence_parallel = sequence_parallel;
          config.parallel.recompute = recompute;
          all.push_back(config);
        }
      }
    }
  }
  return all;
}

bool run_one(const RunConfig& config, World& world, double tolerance) {
  const VerifyResult result = verify(config, world.group(), rank_place(config, world));
  const bool good = result.loss_error <= tolerance && result.worst_error <= tolerance;
  if (world.group().rank() == 0) {
    print("{}\n  loss {:.9f}, one rank {:.9f}, relative error {:.2e}\n", describe(config), result.loss,
          result.reference_loss, result.loss_error);
    print("  {} gradients, worst {}: relative error {:.2e} ({} {:.0e})\n", result.num_parameters,
          result.worst_parameter.empty() ? "none" : result.worst_parameter, result.worst_error,
          good ? "within" : "BEYOND", tolerance);
  }
  return good;
}

int run_verify(const VerifyOptions& options) {
  return run_on_ranks(options.config, MeshUse::kSteps, [&](const RunConfig& config, World& world) {
    const std::vector<RunConfig> configs =
        options.all ? all_combinations(config, world.group().rank() == 0) : std::vector<RunConfig>{config};
    if (options.all && config.training.global_batch % (4 * config.parallel.mesh.dp) != 0) {
      throw UserError("training.global_batch", fmt::format("must be a multiple of 4 * parallel.dp with --all, found {}",
                                                           config.training.global_batch));
    }
    std::size_t num_good = 0;
    for (const RunConfig& one : configs) num_good += run_one(one, world, options.tolerance) ? 1 : 0;
    if (options.all && world.group().rank() == 0) {
      print("{} of {} combinations within {:.0e}\n", num_good, configs.size(), options.tolerance);
    }
    return num_good == configs.size() ? 0 : 1;
  });
}

}  // namespace

void register_verify(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command =
      app.add_subcommand("verify", "Compares a step on the config's mesh with the same step on one rank");
  const auto options = std::make_shared<VerifyOptions>(tasks);
  add_config_arguments(*command, options->config);
  command->add_option("--tolerance", options->tolerance, "Largest relative error of the loss and of any gradient")
      ->capture_default_str();
  command->add_flag("--all", options->all,
                    "On this mesh, every schedule, 1, 2 and 4 microbatches, sequence parallelism and recomputation");
  command->footer(
      "Every parameter's gradient is compared: the 2-norm of the difference over the 2-norm of the one-rank gradient; "
      "a\n"
      "scalar's against the sum of its terms' magnitudes. Synthetic data, dropout as configured.\n"
      "Example:\n"
      "  mpirun -np 4 triptych verify configs/verify.toml --set parallel.tp=2 --set parallel.pp=2\n"
      "Exit code: 0 within the tolerance, 1 beyond it, 2 the config is wrong.");
  command->callback([options, &run] { run = [options] { return run_verify(*options); }; });
}

}  // namespace triptych::launcher
