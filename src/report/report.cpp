#include "report/report.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "base/file.h"
#include "report/html.h"
#include "report/page_parts.h"

namespace triptych::report {

namespace {

constexpr std::size_t kMaxSummaryRows = 8;

std::string tile(std::string_view value, std::string_view name) {
  return fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", escape_html(value), escape_html(name));
}

// The numbers that a reader looks for first.
std::string tiles(const RunCurves& curves) {
  if (curves.empty()) return "";
  const StepMetrics& last = curves.last();
  const auto median = [&](std::string_view key) {
    const Curve* const curve = curves.find(key);
    return curve == nullptr ? std::nan("") : curve->median();
  };
  std::string text = "<div class=\"tiles\">\n" + tile(fmt::format("{}", last.step), "steps");
  if (std::isfinite(last.loss)) text += tile(fmt::format("{:.4f}", last.loss), "loss of the last step");
  if (curves.elapsed().last().y > 0) text += tile(short_duration(curves.elapsed().last().y), "in steps");
  if (const double rate = median("samples_per_s"); rate > 0) text += tile(short_number(rate), "samples/s, median");
  if (const double tflops = median("tflops"); tflops > 0) {
    const double share = median("peak_share");
    const std::string of_peak = std::isfinite(share) ? fmt::format(", {:.0f} % of peak", 100 * share) : "";
    text += tflops >= 10 ? tile(short_number(tflops), "TFLOP/s" + of_peak)
                         : tile(short_number(1000 * tflops), "GFLOP/s" + of_peak);
  }
  if (const double most = curves.find("rss_mb")->largest(); most > 0) {
    text += tile(fmt::format("{:.0f} MB", most), "peak memory of rank 0");
  }
  if (last.skipped > 0) text += tile(fmt::format("{}", last.skipped), "steps skipped, not finite");
  return text + "</div>\n";
}

// Where the run is, in a sentence.
std::string state_line(const RunStatus& status, const RunCurves& curves) {
  const std::string at = internal::time_words(status.updated);
  std::string words;
  if (status.phase == RunPhase::kFinished) {
    words = fmt::format("{} steps, {}", status.last_step, at);
  } else {
    words = fmt::format("step {} of {}", status.step, status.last_step);
    if (status.last_step > 0) {
      words +=
          fmt::format(", {:.0f} %", 100 * static_cast<double>(status.step) / static_cast<double>(status.last_step));
    }
    const Curve* const step_ms = curves.find("step_ms");
    if (status.phase == RunPhase::kRunning && step_ms != nullptr && step_ms->median() > 0) {
      const double left = static_cast<double>(status.last_step - status.step) * step_ms->median() / 1e3;
      words += fmt::format(", about {} to go", short_duration(left));
    }
    words += fmt::format(", as of {}", at);
    if (status.phase == RunPhase::kRunning) words += ". Load this page again for what came since";
  }
  std::string name(phase_name(status.phase));
  name[0] = static_cast<char>(name[0] - 'a' + 'A');
  std::string text = fmt::format("<p class=\"state {}\"><b>{}</b> {}</p>\n", phase_name(status.phase), name, words);
  if (!status.message.empty()) text += fmt::format("<p class=\"message\">{}</p>\n", escape_html(status.message));
  return text;
}

// Tables of few rows are what a reader looks for first; long ones, such as one row a class, stand with the pictures.
bool is_summary(const Panel& panel) {
  const auto* const table = std::get_if<TablePanel>(&panel);
  return table != nullptr && table->subjects.size() <= kMaxSummaryRows;
}

std::string render(const std::vector<Panel>& panels, bool summaries) {
  std::string text;
  for (const Panel& panel : panels) {
    if (is_summary(panel) == summaries) {
      text += std::visit([](const auto& each) { return render_panel(each); }, panel);
    }
  }
  return text;
}

// What the names of sets and baselines stand for is told below the tables that have them.
std::string results(const EvaluationRecord& evaluation) {
  const std::string tables = render(evaluation.panels, true);
  if (tables.empty()) return "";
  return tables + internal::meanings_list(evaluation.meanings) +
         fmt::format("<p class=\"muted\">Measured at step {}, {}.</p>\n", evaluation.step,
                     internal::time_words(evaluation.time));
}

std::vector<std::pair<std::string, std::string>> all_facts(const ReportInput& input) {
  std::vector<std::pair<std::string, std::string>> facts;
  if (input.status) {
    facts = input.status->facts;
    if (!input.status->started.empty()) facts.emplace_back("started", internal::time_words(input.status->started));
    facts.emplace_back("program", input.status->program);
  } else if (input.evaluation) {
    facts = input.evaluation->facts;
  }
  facts.insert(facts.end(), input.facts.begin(), input.facts.end());
  return facts;
}

}  // namespace

std::string render_report(const ReportInput& input) {
  std::string text = internal::page_begin(
      input.title, (input.status ? state_line(*input.status, input.curves) : "") + tiles(input.curves));
  for (const Panel& panel : input.panels) {
    text += std::visit([](const auto& each) { return render_panel(each); }, panel);
  }
  if (input.evaluation) text += results(*input.evaluation);
  text += internal::run_figures(input.curves);
  if (input.evaluation) text += render(input.evaluation->panels, false);
  if (input.status)
    text += internal::planned_beside_measured(*input.status) + internal::rank_times(input.status->ranks);
  text += internal::facts_table("The run", all_facts(input));
  if (!input.config_toml.empty()) {
    text += fmt::format("<details><summary>Configuration</summary>\n<pre>{}</pre></details>\n",
                        escape_html(input.config_toml));
  }
  return text + internal::page_end();
}

bool is_report(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(std::filesystem::symlink_status(path, error))) return false;
  const File file = File::open_read(path);
  std::string head(std::min<uint64_t>(file.size(), kReportBegin.size()), '\0');
  file.pread(std::as_writable_bytes(std::span(head)), 0);
  return head == kReportBegin;
}

void write_report(const std::filesystem::path& path, const ReportInput& input) {
  write_file_atomically(path, render_report(input));
}

}  // namespace triptych::report
