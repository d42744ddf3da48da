#include "launcher/report.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "report/report.h"
#include "training/run_report.h"

namespace triptych::launcher {
namespace {

namespace fs = std::filesystem;

struct ReportOptions {
  std::vector<fs::path> runs;
  fs::path out;
};

// A page of ours may be replaced, and nothing else.
void require_free(const fs::path& out) {
  if (out.extension() != ".html") {
    throw UserError("--out", fmt::format("must be a file .html, found {}. Name one so", out.string()));
  }
  std::error_code error;
  if (!fs::exists(fs::symlink_status(out, error))) return;
  if (!is_report(out)) {
    throw UserError(out.string(),
                    "is there, and no report of this program: it is not replaced. Move it away, or name another file");
  }
}

int report(const ReportOptions& options) {
  if (options.runs.size() == 1 && options.out.empty()) {
    print("report: {}\n", write_run_report(options.runs.front()).string());
    return 0;
  }
  if (options.out.empty()) {
    throw UserError("report", "several runs go on a page of their own. Name it: --out cmp.html");
  }
  require_free(options.out);
  const std::string page =
      options.runs.size() == 1 ? render_report(read_run(options.runs.front())) : compare_runs(options.runs);
  write_file_atomically(options.out, page);
  print("report: {}\n", options.out.string());
  return 0;
}

}  // namespace

void register_report(CLI::App& app, std::function<int()>& run) {
  CLI::App* command = app.add_subcommand("report", "Writes the page of a run anew, or one that compares several runs");
  const auto options = std::make_shared<ReportOptions>();
  command
      ->add_option("RUN", options->runs,
                   "a run's folder (run.dir), also while it trains or after it crashed; several are compared")
      ->required();
  command->add_option("--out", options->out, "the page to write; of one run, without it: report.html in its folder");
  command->footer(
      "A page is one HTML file that loads nothing. It is made from metrics.jsonl, evaluations.jsonl, status.json,\n"
      "evaluation.json and config.toml; that of several runs has their curves in common frames, their last numbers "
      "and\n"
      "results in tables, and the keys of their configs that differ.\n"
      "\n"
      "Examples:\n"
      "  triptych report runs/quickstart\n"
      "  triptych report runs/quickstart runs/longer --out compared.html");
  command->callback([options, &run] { run = [options] { return report(*options); }; });
}

}  // namespace triptych::launcher
