#include "launcher/memory_budget.h"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/console.h"
#include "base/text.h"
#include "launcher/program_output.h"
#include "parallel/agreement.h"

namespace triptych::launcher {
namespace {

constexpr const char* kKey = "parallel.memory_budget_mb";

// Asks for the plan of the config's budget.
nlohmann::json planned(const ConfigArguments& arguments) {
  std::vector<std::string> words{"plan", "memory", "--json"};
  append_config(words, arguments);
  return nlohmann::json::parse(paper_output(kKey, "leave the budget out", std::move(words)));
}

// The most that a rank holds, in MiB.
double most_mb(const nlohmann::json& ranks) {
  double most = 0;
  for (const nlohmann::json& rank : ranks) most = std::max(most, rank.at("peak_bytes").get<double>() / (1 << 20));
  return most;
}

// What fits, as the plan says it.
nlohmann::json chosen(const RunConfig& config, const ConfigArguments& arguments) {
  const ParallelOptions& p = config.parallel;
  const nlohmann::json plan = planned(arguments);
  std::string needs;
  for (const Recompute recompute : kRecomputes) {
    if (recompute < p.recompute) continue;
    const std::string name(recompute_name(recompute));
    needs += fmt::format("{}{} {:.1f} MiB", needs.empty() ? "" : ", ", name, most_mb(plan.at(name)));
  }
  const nlohmann::json& fit = plan.at("fit");
  if (fit.is_null()) {
    throw UserError(
        kKey, fmt::format(
                  "must hold what a rank needs, found {:g} MiB; with recompute {}. Give more, or use "
                  "more ranks, more parallel.microbatches (not with gpipe, which keeps all of them) or a smaller batch",
                  p.memory_budget_mb, needs));
  }
  const std::size_t num_full = fit.at("full_blocks").size();
  print_progress(fmt::format("memory: a budget of {:g} MiB a rank takes recompute = \"{}\"{}: {:.1f} MiB ({})\n",
                             p.memory_budget_mb, fit.at("recompute").get<std::string>(),
                             num_full == 0 ? "" : fmt::format(" with {} blocks in full", num_full),
                             most_mb(fit.at("ranks")), needs));
  return fit;
}

}  // namespace

void fit_memory_budget(RunConfig& config, const ConfigArguments& arguments, Group& world) {
  if (config.parallel.memory_budget_mb == 0) return;
  std::string mine;
  together(world, [&] {
    if (world.rank() == 0) mine = chosen(config, arguments).dump();
  });
  const nlohmann::json fit = nlohmann::json::parse(world.all_gather_string(mine).front());
  for (const Recompute recompute : kRecomputes) {
    if (fit.at("recompute").get<std::string>() == recompute_name(recompute)) config.parallel.recompute = recompute;
  }
  config.parallel.full_blocks = fit.at("full_blocks").get<std::vector<std::string>>();
}

}  // namespace triptych::launcher
