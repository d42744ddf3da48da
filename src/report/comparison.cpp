#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "report/html.h"
#include "report/page_parts.h"
#include "report/report.h"

namespace triptych::report {
namespace {

std::string row(std::string_view head, const std::vector<std::string>& cells, std::string_view cell_class = "") {
  std::string text = fmt::format("<tr><th scope=\"row\"><bdi>{}</bdi></th>", escape_html(head));
  for (const std::string& value : cells) {
    text += fmt::format("<td{}><bdi>{}</bdi></td>", cell_class, value.empty() ? "–" : escape_html(value));
  }
  return text + "</tr>\n";
}

std::string table(std::string_view heading, std::string_view first, const std::vector<ComparedRun>& runs,
                  const std::string& rows) {
  if (rows.empty()) return "";
  std::string text =
      fmt::format("<h2>{}</h2>\n<div class=\"scroll\"><table class=\"compared\">\n<thead><tr><th scope=\"col\">{}</th>",
                  heading, first);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    text += fmt::format("<th scope=\"col\" class=\"run c{}\"><bdi>{}</bdi></th>", i, escape_html(runs[i].name));
  }
  return text + "</tr></thead>\n<tbody>\n" + rows + "</tbody>\n</table></div>\n";
}

// What each run has of a number, as text; "" where it has none.
template <typename Of>
std::string number_row(std::string_view head, const std::vector<ComparedRun>& runs, Of of) {
  std::vector<std::string> cells;
  for (const ComparedRun& run : runs) cells.push_back(of(run.report));
  const bool is_empty = std::all_of(cells.begin(), cells.end(), [](const std::string& cell) { return cell.empty(); });
  return is_empty ? "" : row(head, cells);
}

std::string numbers(const std::vector<ComparedRun>& runs) {
  const auto median = [](std::string_view key) {
    return [key](const ReportInput& report) {
      const Curve* const curve = report.curves.find(key);
      const double value = curve == nullptr ? std::nan("") : curve->median();
      return std::isfinite(value) ? short_number(value) : std::string();
    };
  };
  std::string rows = number_row("state", runs,
                                [](const ReportInput& report) {
                                  return report.status ? std::string(phase_name(report.status->phase)) : "";
                                }) +
                     number_row("steps", runs, [](const ReportInput& report) {
                       return report.curves.empty() ? std::string() : fmt::format("{}", report.curves.last().step);
                     });
  rows += number_row("time in steps", runs, [](const ReportInput& report) {
    return report.curves.empty() ? std::string() : short_duration(report.curves.elapsed().last().y);
  });
  rows += number_row("last loss", runs, [](const ReportInput& report) {
    return report.curves.empty() || !std::isfinite(report.curves.last().loss)
               ? std::string()
               : fmt::format("{:.4f}", report.curves.last().loss);
  });
  rows += number_row("samples/s, median", runs, median("samples_per_s"));
  rows += number_row("step, ms, median", runs, median("step_ms"));
  rows += number_row("wait for the loader, ms, median", runs, median("loader_wait_ms"));
  // Of their facts (mesh, parameters) those that are not the same in all.
  std::vector<std::string> names;
  for (const ComparedRun& run : runs) {
    if (!run.report.status) continue;
    for (const auto& [name, value] : run.report.status->facts) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  for (const std::string& name : names) {
    const auto fact = [&](const ReportInput& report) {
      if (!report.status) return std::string();
      for (const auto& [key, value] : report.status->facts) {
        if (key == name) return value;
      }
      return std::string();
    };
    const std::string first = fact(runs.front().report);
    if (std::any_of(runs.begin(), runs.end(), [&](const ComparedRun& run) { return fact(run.report) != first; })) {
      rows += number_row(name, runs, fact);
    }
  }
  return rows;
}

// Held-out numbers: the last of those that were taken while training, and the evaluation's.
std::string results(const std::vector<ComparedRun>& runs) {
  std::vector<std::string> names;
  const auto put = [&](const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  const auto held_name = [](const RunCurves::HeldOut& held) {
    return fmt::format("{}: {}, while training", held.set, held.key);
  };
  for (const ComparedRun& run : runs) {
    if (run.report.evaluation) {
      for (const auto& [name, value] : run.report.evaluation->metrics) put(name);
    }
    for (const RunCurves::HeldOut& held : run.report.curves.held_out()) put(held_name(held));
  }
  std::string rows;
  for (const std::string& name : names) {
    rows += number_row(name, runs, [&](const ReportInput& report) {
      if (report.evaluation) {
        for (const auto& [key, value] : report.evaluation->metrics) {
          if (key == name && std::isfinite(value)) return fmt::format("{:.4g}", value);
        }
      }
      for (const RunCurves::HeldOut& held : report.curves.held_out()) {
        if (held_name(held) == name && held.curve.has_values()) return fmt::format("{:.4g}", held.curve.last().y);
      }
      return std::string();
    });
  }
  if (rows.empty()) return "";
  return number_row("measured at step", runs,
                    [](const ReportInput& report) {
                      return report.evaluation ? fmt::format("{}", report.evaluation->step) : std::string();
                    }) +
         rows;
}

}  // namespace

std::string render_comparison(const std::string& title, const std::vector<ComparedRun>& runs,
                              const std::vector<ConfigRow>& differences) {
  TRIPTYCH_CHECK(!runs.empty() && runs.size() <= kMaxComparedRuns, "{} runs to compare", runs.size());
  std::string text = internal::page_begin(title, "");
  text += table("Numbers", "", runs, numbers(runs));
  text += internal::compared_figures(runs);
  text += table("Results", "Set and measure", runs, results(runs));
  std::vector<std::pair<std::string, std::string>> meanings;
  for (const ComparedRun& run : runs) {
    if (!run.report.evaluation) continue;
    for (const auto& meaning : run.report.evaluation->meanings) {
      if (std::find(meanings.begin(), meanings.end(), meaning) == meanings.end()) meanings.push_back(meaning);
    }
  }
  text += internal::meanings_list(meanings);
  std::string rows;
  for (const ConfigRow& difference : differences)
    rows += row(difference.key, difference.values, " class=\"value-text\"");
  text += rows.empty() ? "<h2>Configuration</h2>\n<p class=\"muted\">All keys but run.dir have the same values.</p>\n"
                       : table("Configuration: what differs", "Key", runs, rows);
  return text + internal::page_end();
}

}  // namespace triptych::report
