#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "report/metrics.h"
#include "report/panel.h"

namespace triptych::report {

/// How every report's page begins, and by which a file is known as one. The policy makes "loads nothing" the browser's
/// rule too, whatever a caption tries.
inline constexpr std::string_view kReportBegin =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
    "http-equiv=\"Content-Security-Policy\" "
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n";

struct ReportInput {
  std::string title;
  std::vector<std::pair<std::string, std::string>> facts;  ///< name, value: mesh, model, parameters, time
  std::vector<StepMetrics> metrics;
  std::vector<Panel> panels;  ///< in the order of the page
  std::string config_toml;
};

/// The report as one HTML page that loads nothing: its panels, curves of the loss, of each scalar, of learning rate,
/// gradient norm and throughput, the run's facts and its config. Light or dark as the reader's system is; reads on a
/// phone. All text is escaped, and text that is not UTF-8 is shown with the offending bytes replaced. A part without
/// data is left out. At most `kMaxCurvePoints` points a curve: of more steps, each group's least and largest value.
std::string render_report(const ReportInput& input);

/// render_report, written atomically.
void write_report(const std::filesystem::path& path, const ReportInput& input);

}  // namespace triptych::report
