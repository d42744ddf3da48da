#include "launcher/program.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include "base/console.h"
#include "base/program_identity.h"
#include "base/text.h"
#include "device/backend.h"
#include "launcher/backend.h"
#include "launcher/bench_cluster.h"
#include "launcher/bench_collectives.h"
#include "launcher/bench_loader.h"
#include "launcher/bench_scaling.h"
#include "launcher/bench_step.h"
#include "launcher/config.h"
#include "launcher/doctor.h"
#include "launcher/embed.h"
#include "launcher/environment.h"
#include "launcher/eval.h"
#include "launcher/explain.h"
#include "launcher/index.h"
#include "launcher/ingest.h"
#include "launcher/inspect.h"
#include "launcher/interop.h"
#include "launcher/merge.h"
#include "launcher/plan.h"
#include "launcher/ranks.h"
#include "launcher/report.h"
#include "launcher/search.h"
#include "launcher/tokenizer.h"
#include "launcher/train.h"
#include "launcher/verify.h"
#include "parallel/exit_code.h"

namespace triptych::launcher {
namespace {

// What people read must have come through, or the exit code says so. A training run tells its progress by other means
// and goes on without a reader.
int end_with(int exit_code) {
  const int lost = flush_standard_output();
  if (lost == 0 || exit_code != 0) return exit_code;
  return report_error(WorldError(
      "output", fmt::format("standard output must take what is printed, some was lost: {}. Free what it goes to, or "
                            "keep its reader",
                            describe_errno(lost))));
}

// What `--version` prints: which sources made this program, and what it can train on.
std::string version_text() {
  const std::filesystem::path other = other_backends_program();
  const std::string others = other.empty() ? "" : fmt::format(", and {} in {}", other_backend_kind(), other.string());
  return fmt::format("triptych {}\nbackends: {}{}\ncompiler: {}", program_release(), backend_kind(), others,
                     compiler_text());
}

// Throws UserError for a word that stands where a subcommand's name must, and where there is none.
void require_known_subcommand(const CLI::App& app, int argc, char** argv) {
  const CLI::App* place = &app;
  std::string path = app.get_name();
  for (int i = 1; i >= argc || argv[i][0] != '-'; ++i) {
    const std::vector<const CLI::App*> below = place->get_subcommands([](const CLI::App*) { return true; });
    if (below.empty()) return;
    const std::string word = i < argc ? argv[i] : "";
    const auto found = std::find_if(below.begin(), below.end(), [&](const CLI::App* a) { return a->check_name(word); });
    if (found == below.end()) {
      std::vector<std::string> names;
      for (const CLI::App* a : below) names.push_back(a->get_name());
      const std::string near = nearest_word(word, names);
      throw UserError("arguments", fmt::format("`{}` must be followed by a subcommand, found {}. {}", path,
                                               word.empty() ? "none" : fmt::format("`{}`", word),
                                               near.empty() ? fmt::format("There are: {}", fmt::join(names, ", "))
                                                            : fmt::format("Did you mean `{} {}`?", path, near)));
    }
    place = *found;
    path += fmt::format(" {}", place->get_name());
  }
}

// The subcommand that was asked for, of those that have others below them the innermost.
const CLI::App& asked_for(const CLI::App& app) {
  const std::vector<CLI::App*> below = app.get_subcommands();
  return below.empty() ? app : asked_for(*below.front());
}

// Throws UserError for what a subcommand does not take, if there is any such, and else for `error`.
[[noreturn]] void refuse(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& asked = asked_for(app);
  std::string path = asked.get_name();
  for (const CLI::App* above = asked.get_parent(); above != nullptr; above = above->get_parent()) {
    path = fmt::format("{} {}", above->get_name(), path);
  }
  const std::vector<std::string> extras = app.remaining(true);
  if (extras.empty()) {
    throw UserError("arguments", fmt::format("of `{0}`: {1}. `{0} --help` says what it takes.", path, error.what()));
  }
  std::vector<std::string> known;
  for (const CLI::Option* option : asked.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  }
  const auto flag = std::ranges::find_if(extras, [](const std::string& word) { return word.starts_with("-"); });
  const std::string& found = flag == extras.end() ? extras.front() : *flag;
  const std::string near = nearest_word(found.substr(0, found.find('=')), known);
  throw UserError("arguments", fmt::format("`{}` does not take `{}`. {}`{} --help` lists what it takes.", path, found,
                                           near.empty() ? "" : fmt::format("Did you mean `{}`? ", near), path));
}

int run_subcommand(int argc, char** argv, TaskTable tasks) {
  CLI::App app("Triptych trains image-text Transformers on many ranks.", "triptych");
  app.set_version_flag("--version", version_text);
  app.require_subcommand(1);
  app.footer("Every subcommand has --help. docs/ has the formats, the configuration and how it all works.");
  app.set_help_all_flag("--help-all", "The help of all subcommands");

  std::function<int()> run;
  register_train(app, run, tasks);
  register_eval(app, run, tasks);
  register_embed(app, run, tasks);
  register_search(app, run, tasks);
  register_explain(app, run, tasks);
  register_report(app, run);
  register_merge(app, run, tasks);
  register_interop(app, run, tasks);
  register_verify(app, run, tasks);
  register_ingest(app, run);
  register_index(app, run);
  register_inspect(app, run);
  register_tokenizer(app, run);
  register_plan(app, run, tasks);
  register_config(app, run, tasks);
  CLI::App* bench = app.add_subcommand(
      "bench", "Measures a part: step, scaling, gemm, loader, collectives; writes a machine's rates for plans");
  bench->require_subcommand(1);
  register_bench_step(*bench, run, tasks);
  register_bench_scaling(*bench, run, tasks);
  register_bench_cluster(*bench, run, tasks);
  register_bench_gemm(*bench, run);
  register_bench_loader(*bench, run);
  register_bench_collectives(*bench, run);
  register_doctor(app, run);

  try {
    require_known_subcommand(app, argc, argv);
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      if (error.get_exit_code() == 0) return end_with(app.exit(error));  // help and the version
      refuse(app, error);
    }
  } catch (const UserError& error) {
    return end_with(report_misuse(error));
  }
  try {
    return end_with(run());
  } catch (const std::exception& error) {
    return report_error(error);
  }
}

}  // namespace

int run_program(int argc, char** argv, TaskTable tasks) {
  secure_standard_streams();
  prepare_environment(argv);
  const int exit_code = run_subcommand(argc, argv, tasks);
  leave_exit_code(exit_code);
  return exit_code;
}

}  // namespace triptych::launcher
