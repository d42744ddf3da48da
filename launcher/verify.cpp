#include "launcher/verify.h"

#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "launcher/ranks.h"
#include "training/session.h"
#include "training/verify.h"

namespace triptych {
namespace {

struct VerifyOptions {
  ConfigArguments config;
  double tolerance = 1e-5;
};

std::string describe(const RunConfig& config) {
  const ParallelOptions& p = config.parallel;
  return fmt::format("pp {} dp {} tp {}  {}  {} microbatches  sequence_parallel {}  recompute {}  {}", p.mesh.pp,
                     p.mesh.dp, p.mesh.tp, schedule_kind_name(p.schedule), p.microbatches, p.sequence_parallel,
                     p.recompute ? "full" : "none",
                     config.objective.kind == ContrastiveConfig::Kind::kSigmoid ? "sigmoid" : "infonce");
}

int run_verify(const VerifyOptions& options) {
  return run_on_ranks(options.config, [&](const RunConfig& config, World& world) {
    const VerifyResult result = verify(config, world.group(), rank_threads(config, world.node_size()));
    const bool good = result.loss_error <= options.tolerance && result.worst_error <= options.tolerance;
    if (world.group().rank() == 0) {
      fmt::print("{}\n  loss {:.9f}, one rank {:.9f}, relative error {:.2e}\n", describe(config), result.loss,
                 result.reference_loss, result.loss_error);
      fmt::print("  {} gradients, worst {}: relative error {:.2e} ({} {:.0e})\n", result.num_parameters,
                 result.worst_parameter, result.worst_error, good ? "within" : "BEYOND", options.tolerance);
    }
    return good ? 0 : 1;
  });
}

}  // namespace

void register_verify(CLI::App& app, std::function<int()>& run) {
  CLI::App* command =
      app.add_subcommand("verify", "Compares a step on the config's mesh with the same step on one rank");
  const auto options = std::make_shared<VerifyOptions>();
  add_config_arguments(*command, options->config);
  command->add_option("--tolerance", options->tolerance, "Largest relative error of the loss and of any gradient")
      ->capture_default_str();
  command->footer(
      "Every parameter's gradient is compared: the 2-norm of the difference over the 2-norm of the one-rank gradient; "
      "a\n"
      "scalar's against the sum of its terms' magnitudes. Synthetic data, dropout as configured.\n"
      "Example:\n"
      "  mpirun -np 4 triptych verify configs/verify.toml --set parallel.tp=2 --set parallel.pp=2\n"
      "Exit code: 0 within the tolerance, 1 beyond it, 2 the config is wrong.");
  command->callback([options, &run] { run = [options] { return run_verify(*options); }; });
}

}  // namespace triptych
