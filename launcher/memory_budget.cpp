#include "launcher/memory_budget.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/console.h"
#include "base/text.h"
#include "launcher/backend.h"
#include "parallel/agreement.h"

extern char** environ;

namespace triptych::launcher {
namespace {

constexpr const char* kKey = "parallel.memory_budget_mb";
constexpr std::size_t kMostPlanBytes = std::size_t{16} << 20;

// What a program printed on standard output; its errors go where ours do.
std::string output_of(const std::filesystem::path& program, std::vector<std::string> words) {
  std::array<int, 2> pipe;
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
    throw WorldError(kKey, fmt::format("cannot make a pipe ({})", describe_errno(errno)));
  }
  words.insert(words.begin(), program.string());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  pid_t child = -1;
  const int refused = ::posix_spawn(&child, program.c_str(), &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe[1]);
  std::string text;
  std::array<char, 4096> piece;
  for (ssize_t got = 0; refused == 0 && text.size() < kMostPlanBytes;) {
    got = ::read(pipe[0], piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(piece.data(), static_cast<std::size_t>(got));
  }
  ::close(pipe[0]);
  int status = 0;
  while (refused == 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (refused != 0) {
    throw WorldError(kKey, fmt::format("cannot start {} ({})", program.string(), describe_errno(refused)));
  }
  if (status != 0) {
    throw WorldError(kKey, fmt::format("memory could not be planned: {} ended with {} {}. It says why above",
                                       program.string(), WIFEXITED(status) ? "code" : "signal",
                                       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status)));
  }
  return text;
}

// Asks for the plan of the config's budget.
nlohmann::json planned(const ConfigArguments& arguments) {
  const std::filesystem::path program = program_of("paper");
  if (program.empty()) {
    throw UserError(kKey,
                    "needs triptych-paper, which plans memory, and there is none beside this program. Build the "
                    "target `triptych-paper`, or leave the budget out");
  }
  std::vector<std::string> words{"plan", "memory", "--json", arguments.file.string()};
  for (const std::string& one : arguments.overrides) words.insert(words.end(), {"--set", one});
  return nlohmann::json::parse(output_of(program, words));
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
    throw UserError(kKey,
                    fmt::format("must hold what a rank needs, found {:g} MiB; with recompute {}. Give more, or use "
                                "more ranks, more parallel.microbatches or a smaller batch",
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
