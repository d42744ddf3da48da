#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "report/metrics.h"
#include "report/panel.h"

namespace triptych::report {

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
