#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "report/evaluation_file.h"
#include "report/panel.h"
#include "report/run_curves.h"
#include "report/run_status.h"

namespace triptych::report {

/// How every report's page begins, and by which a file is known as one. The policy makes "loads nothing" the browser's
/// rule too, whatever a caption tries.
inline constexpr std::string_view kReportBegin =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
    "http-equiv=\"Content-Security-Policy\" "
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n";

struct ReportInput {
  std::string title;
  std::optional<RunStatus> status;
  RunCurves curves;
  std::optional<EvaluationRecord> evaluation;
  std::vector<std::pair<std::string, std::string>> facts;  ///< name, value: behind those of the status
  std::vector<Panel> panels;                               ///< of a page that is no run's: before all else
  std::string config_toml;
};

/// The report as one HTML page that loads nothing: where the run is, the results of its evaluation, its curves, what
/// the evaluation shows besides, time by rank, facts and config. Light or dark as the reader's system is; reads on a
/// phone. All text is escaped, and text that is not UTF-8 is shown with the offending bytes replaced. A part without
/// data is left out. Of a bounded size, however many steps there are.
std::string render_report(const ReportInput& input);

/// Whether the file is such a page, by how it begins; a link is none.
bool is_report(const std::filesystem::path& path);

/// render_report, written atomically.
void write_report(const std::filesystem::path& path, const ReportInput& input);

/// A run among others on one page.
struct ComparedRun {
  std::string name;
  ReportInput report;
};

/// A key of the configs that not all runs have the same value of: the value in each run; "" where it has none.
struct ConfigRow {
  std::string key;
  std::vector<std::string> values;
};

/// Runs beside each other: their curves in common frames by step and the loss by time, their last numbers and results
/// in tables, and how their configs differ. As render_report otherwise.
///   runs   at least one, at most kMaxComparedRuns
std::string render_comparison(const std::string& title, const std::vector<ComparedRun>& runs,
                              const std::vector<ConfigRow>& differences);
inline constexpr std::size_t kMaxComparedRuns = kNumCurveColors;

}  // namespace triptych::report
