#include "launcher/verify.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "launcher/ranks.h"
#include "parallel/agreement.h"
#include "training/session.h"
#include "training/verify.h"
#include "training/verify_grid.h"

namespace triptych::launcher {
namespace {

struct VerifyOptions {
  explicit VerifyOptions(TaskTable tasks) : config(tasks) {}

  ConfigArguments config;
  double tolerance = 1e-5;
  bool all = false;
  std::string grid = "pairwise";
  std::string part = "1/1";
};

struct Tolerance {
  double loss, gradients;
};

// Rounding a summand to bf16 moves it by 2^-8 at most; what summands that cancel each other leave has more of it.
constexpr double kRoundedGradients = 0x1p-7;

Tolerance tolerance_of(const RunConfig& config, double asked) {
  const bool is_rounded = config.parallel.gradient_dtype != "fp32";
  return {asked, is_rounded ? std::max(asked, kRoundedGradients) : asked};
}

bool is_good(const VerifyResult& result, const Tolerance& tolerance) {
  return result.loss_error <= tolerance.loss && result.worst_error <= tolerance.gradients;
}

std::string worst_name(const VerifyResult& result) {
  return result.worst_parameter.empty() ? "none" : result.worst_parameter;
}

int verify_one(const RunConfig& config, World& world, const Tolerance& tolerance) {
  const VerifyResult result = verify(config, world.group(), rank_place(config, world));
  const bool good = is_good(result, tolerance);
  if (world.group().rank() == 0) {
    print("{}\n  loss {:.9f}, one rank {:.9f}, relative error {:.2e}\n", case_text(config.parallel), result.loss,
          result.reference_loss, result.loss_error);
    print("  {} gradients, worst {}: relative error {:.2e} ({} {:.0e})\n", result.num_parameters, worst_name(result),
          result.worst_error, good ? "within" : "BEYOND", tolerance.gradients);
  }
  return good ? 0 : 1;
}

// What a grid's cases came to; rank 0 has the results.
class GridTable {
 public:
  explicit GridTable(const Tolerance& tolerance) : tolerance_(tolerance) {}

  void add(const ParallelOptions& parallel, const VerifyResult& result) {
    const bool good = is_good(result, tolerance_);
    const double error = std::max(result.loss_error, result.worst_error);
    print("{}  {:8.1e}  {:8.1e}  {}{}\n", good ? "ok    " : "BEYOND", result.loss_error, result.worst_error,
          case_text(parallel), good ? "" : "  worst is " + worst_name(result));
    if (!(error <= worst_error_)) {
      worst_error_ = error;
      const std::string what = result.loss_error == error ? "the loss" : "the gradient of " + worst_name(result);
      worst_ = fmt::format("{} at {}", what, case_text(parallel));
    }
    ++num_cases_;
    num_good_ += good ? 1 : 0;
    num_gradients_ = result.num_parameters;
  }
  void finish() const {
    print("{} of {} cases within {:.0e}, each of the loss and {} gradients; the worst error is {:.1e}{}\n", num_good_,
          num_cases_, tolerance_.gradients, num_gradients_, worst_error_, worst_.empty() ? "" : ", of " + worst_);
  }
  bool all_good() const { return num_good_ == num_cases_; }

 private:
  Tolerance tolerance_;
  double worst_error_ = 0;
  std::string worst_;
  int num_cases_ = 0, num_good_ = 0;
  int64_t num_gradients_ = 0;
};

// The first ranks run a case, the others wait for the next one.
int verify_all(const VerifyOptions& options, RunConfig config, World& world) {
  Group& group = world.group();
  const bool is_first = group.rank() == 0;
  const ConfigArguments& arguments = options.config;
  const ReadConfig read = [&](const std::vector<std::string>& more, int num_ranks) {
    std::vector<std::string> overrides = arguments.overrides;
    overrides.insert(overrides.end(), more.begin(), more.end());
    return load_run_config(arguments.file, overrides, arguments.tasks, MeshUse::kSteps, num_ranks);
  };
  const GridKind kind = options.grid == "full" ? GridKind::kFull : GridKind::kPairwise;
  std::vector<ParallelOptions> cases;
  VerifyGrid grid;
  together(group, [&] {
    const GridPart part = parse_grid_part(options.part);
    grid = verify_grid(read, group.size(), kind);
    cases = cases_of(grid, part);
  });
  if (is_first) {
    for (const std::string& line : grid.left_out) print("left out: {}\n", line);
    if (grid.num_beyond_ranks > 0) {
      print("left out: what needs more than {} ranks: {} settings and pairs of them\n", group.size(),
            grid.num_beyond_ranks);
    }
    const bool is_whole = cases.size() == grid.cases.size();
    print("{}{} cases on up to {} ranks\n        loss      gradient  case\n",
          is_whole ? "" : fmt::format("part {}: {} of ", options.part, cases.size()), grid.cases.size(), group.size());
  }
  const RankPlace place = rank_place(config, world);
  const VerifyReference reference = verify_reference(config, place);
  GridTable table(tolerance_of(config, options.tolerance));
  for (const ParallelOptions& parallel : cases) {
    config.parallel = parallel;
    const MeshShape& mesh = parallel.mesh;
    const int num_ranks = mesh.pp * mesh.dp * mesh.cp * mesh.tp;
    const std::unique_ptr<Group> part = group.split_by([&](int rank) { return rank < num_ranks ? 0 : -1; }, "case");
    if (part != nullptr) {
      const VerifyResult result = verify(config, *part, place, reference);
      if (is_first) table.add(parallel, result);
    }
    group.barrier();
  }
  if (is_first) table.finish();
  int32_t failed = table.all_good() ? 0 : 1;
  group.broadcast(&failed, 1, DType::kInt32, 0)->wait();
  return failed;
}

// --all goes through the settings of [parallel] itself; what is asked for beside it must not be lost without a word.
void check_overrides(const VerifyOptions& options) {
  if (!options.all) return;
  for (const std::string& override : options.config.overrides) {
    const std::string key = override.substr(0, override.find('='));
    if (!key.starts_with("parallel.") || key == "parallel.gradient_dtype" || key == "parallel.bucket_mb") continue;
    throw UserError(
        "--set " + override,
        fmt::format("must not set what --all goes through itself, found {}. Leave it out, or leave --all out "
                    "and start as many ranks as the mesh has",
                    key));
  }
}

int run_verify(const VerifyOptions& options) {
  const MeshUse use = options.all ? MeshUse::kNone : MeshUse::kSteps;
  return run_on_ranks(options.config, use, [&](const RunConfig& config, World& world) {
    together(world.group(), [&] { check_overrides(options); });
    return options.all ? verify_all(options, config, world)
                       : verify_one(config, world, tolerance_of(config, options.tolerance));
  });
}

}  // namespace

void register_verify(CLI::App& app, std::function<int()>& run, TaskTable tasks) {
  CLI::App* command =
      app.add_subcommand("verify", "Compares a step on the config's mesh with the same step on one rank");
  const auto options = std::make_shared<VerifyOptions>(tasks);
  add_config_arguments(*command, options->config);
  command
      ->add_option("--tolerance", options->tolerance,
                   "Largest relative error of the loss and of any gradient; of gradients that travel in bf16 at "
                   "least 2^-7 = 8e-3")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  CLI::Option* all = command->add_flag(
      "--all", options->all,
      "Instead of the config's [parallel], a grid of it on up to as many ranks as were started: every schedule; pp 1, "
      "2 and 4; 1 and 2 virtual stages; dp, cp and tp 1 and 2; zero 0 to 3, and 3 with dp 4 in groups of 2; sequence "
      "parallelism and tp_pieces; every recomputation; 1, 2 and 4 microbatches");
  command
      ->add_option("--grid", options->grid,
                   "pairwise: the few cases in which every two of these settings meet; full: all cases, thousands")
      ->check(CLI::IsMember({"pairwise", "full"}))
      ->capture_default_str()
      ->needs(all);
  command
      ->add_option("--part", options->part,
                   "K/N: the K-th case and every N-th behind it, so that N jobs have each case once; one of them is a "
                   "sample of all settings if N is a prime above 7")
      ->type_name("K/N")
      ->capture_default_str()
      ->needs(all);
  command->footer(
      "Every parameter's gradient is compared: the 2-norm of the difference over the 2-norm of the one-rank gradient; "
      "a\n"
      "scalar's against the sum of its terms' magnitudes. Synthetic data, dropout as configured. With --all a line a\n"
      "case, and the worst error at the end; what the config refuses for its model or batch, or what needs more ranks, "
      "is\n"
      "listed as left out.\n"
      "Examples:\n"
      "  mpirun -np 4 triptych verify configs/verify.toml --set parallel.tp=2 --set parallel.pp=2\n"
      "  launcher/run-ranks 16 triptych verify configs/verify.toml --all\n"
      "  launcher/run-ranks 16 triptych verify configs/verify.toml --all --grid full --part 1/97\n"
      "Exit code: 0 within the tolerance, 1 beyond it, 2 the config is wrong.");
  command->callback([options, &run] { run = [options] { return run_verify(*options); }; });
}

}  // namespace triptych::launcher
