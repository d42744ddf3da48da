#include "report/report.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_map>

#include <fmt/format.h>

#include "base/file.h"
#include "report/html.h"
#include "report/report_style.h"
#include "report/svg_curve.h"

namespace triptych::report {

namespace {

// The median of the finite values; NaN if there is none.
double median(const std::vector<StepMetrics>& metrics, double StepMetrics::*field) {
  std::vector<double> values;
  for (const StepMetrics& step : metrics) {
    if (std::isfinite(step.*field)) values.push_back(step.*field);
  }
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string tile(std::string_view value, std::string_view name) {
  return fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", escape_html(value), escape_html(name));
}

// The numbers that a reader looks for first.
std::string tiles(const std::vector<StepMetrics>& metrics) {
  if (metrics.empty()) return "";
  const StepMetrics& last = metrics.back();
  std::string text = "<div class=\"tiles\">\n" + tile(fmt::format("{}", last.step), "steps");
  if (std::isfinite(last.loss)) text += tile(fmt::format("{:.4f}", last.loss), "loss of the last step");
  if (const double rate = median(metrics, &StepMetrics::samples_per_s); rate > 0) {
    text += tile(short_number(rate), "samples/s, median");
  }
  if (const double tflops = median(metrics, &StepMetrics::tflops); tflops > 0) {
    const double share = median(metrics, &StepMetrics::peak_share);
    const std::string of_peak = std::isfinite(share) ? fmt::format(", {:.0f} % of peak", 100 * share) : "";
    text += tflops >= 10 ? tile(short_number(tflops), "TFLOP/s" + of_peak)
                         : tile(short_number(1000 * tflops), "GFLOP/s" + of_peak);
  }
  double rss = 0;
  for (const StepMetrics& step : metrics) {
    if (step.rss_mb > rss) rss = step.rss_mb;
  }
  if (rss > 0) text += tile(fmt::format("{:.0f} MB", rss), "peak memory of rank 0");
  if (last.skipped > 0) text += tile(fmt::format("{}", last.skipped), "steps skipped, not finite");
  return text + "</div>\n";
}

// "rows_per_s" → "Rows per s", as a heading.
std::string heading_of(std::string key) {
  std::replace(key.begin(), key.end(), '_', ' ');
  if (!key.empty() && key[0] >= 'a' && key[0] <= 'z') key[0] = static_cast<char>(key[0] - 'a' + 'A');
  return key;
}

// A curve for each scalar of the run, in the order in which they come up.
std::string scalar_curves(const std::vector<StepMetrics>& metrics) {
  std::vector<std::pair<std::string, std::vector<CurvePoint>>> scalars;
  std::unordered_map<std::string, std::size_t> place;
  for (const StepMetrics& step : metrics) {
    for (const auto& [key, value] : step.scalars) {
      const auto [found, is_new] = place.try_emplace(key, scalars.size());
      if (is_new) scalars.emplace_back(key, std::vector<CurvePoint>());
      scalars[found->second].second.push_back({static_cast<double>(step.step), value});
    }
  }
  std::string text;
  for (const auto& [key, points] : scalars) text += svg_curve(points, {heading_of(key), "step", false, true});
  return text;
}

std::string curves(const std::vector<StepMetrics>& metrics) {
  const auto curve = [&](double StepMetrics::*field, const CurveStyle& style) {
    std::vector<CurvePoint> points;
    points.reserve(metrics.size());
    for (const StepMetrics& step : metrics) points.push_back({static_cast<double>(step.step), step.*field});
    return svg_curve(points, style);
  };
  const std::string text = curve(&StepMetrics::loss, {"Loss", "step", false, true}) + scalar_curves(metrics) +
                           curve(&StepMetrics::learning_rate, {"Learning rate", "step", true, false}) +
                           curve(&StepMetrics::grad_norm, {"Gradient norm", "step", true, true}) +
                           curve(&StepMetrics::samples_per_s, {"Samples per second", "step", true, true});
  return text.empty() ? "" : "<h2>Training</h2>\n<div class=\"curves\">\n" + text + "</div>\n";
}

std::string facts(const std::vector<std::pair<std::string, std::string>>& pairs) {
  if (pairs.empty()) return "";
  std::string text = "<h2>The run</h2>\n<table class=\"facts\">\n";
  for (const auto& [name, value] : pairs) {
    text += fmt::format("<tr><th scope=\"row\">{}</th><td><bdi>{}</bdi></td></tr>\n", escape_html(name),
                        escape_html(value));
  }
  return text + "</table>\n";
}

}  // namespace

std::string render_report(const ReportInput& input) {
  const std::string title = escape_html(input.title);
  std::string text = fmt::format(
      "{}<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<header>\n<h1>{}</h1>\n",
      kReportBegin, title, internal::kReportStyle, title);
  text += tiles(input.metrics) + "</header>\n<main>\n";
  for (const Panel& panel : input.panels) {
    text += std::visit([](const auto& each) { return render_panel(each); }, panel);
  }
  text += curves(input.metrics);
  text += facts(input.facts);
  if (!input.config_toml.empty()) {
    text += fmt::format("<details><summary>Configuration</summary>\n<pre>{}</pre></details>\n",
                        escape_html(input.config_toml));
  }
  return text + "</main>\n</body>\n</html>\n";
}

void write_report(const std::filesystem::path& path, const ReportInput& input) {
  write_file_atomically(path, render_report(input));
}

}  // namespace triptych::report
