#include "training/report.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

#include "base/file.h"
#include "training/html.h"
#include "training/report_style.h"
#include "training/svg_curve.h"

namespace triptych {

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

std::string curves(const std::vector<StepMetrics>& metrics) {
  const auto curve = [&](double StepMetrics::*field, const CurveStyle& style) {
    std::vector<CurvePoint> points;
    points.reserve(metrics.size());
    for (const StepMetrics& step : metrics) points.push_back({static_cast<double>(step.step), step.*field});
    return svg_curve(points, style);
  };
  const std::string text = curve(&StepMetrics::loss, {"Loss", "step", false, true}) +
                           curve(&StepMetrics::learning_rate, {"Learning rate", "step", true, false}) +
                           curve(&StepMetrics::grad_norm, {"Gradient norm", "step", true, true}) +
                           curve(&StepMetrics::samples_per_s, {"Samples per second", "step", true, true});
  return text.empty() ? "" : "<h2>Training</h2>\n<div class=\"curves\">\n" + text + "</div>\n";
}

std::string recall_cells(const RecallAtK& recall) {
  std::string text;
  for (const double value : {recall.at_1, recall.at_5, recall.at_10}) {
    const double percent = std::isfinite(value) ? 100 * std::clamp(value, 0.0, 1.0) : 0;
    text += fmt::format("<td><span class=\"value\" style=\"background-size:{:.1f}% 4px\">{}</span></td>", percent,
                        std::isfinite(value) ? fmt::format("{:.{}f} %", 100 * value, percent < 9.995 ? 2 : 1) : "–");
  }
  return text;
}

std::string results(const std::vector<ReportRow>& rows) {
  if (rows.empty()) return "";
  std::string text =
      "<h2>Results</h2>\n<p class=\"muted\">Share of queries whose right answer is among the first 1, 5 or 10.</p>\n"
      "<div class=\"scroll\"><table class=\"results\">\n<thead><tr><th scope=\"col\">Set and direction</th>"
      "<th scope=\"col\"></th><th scope=\"col\">Recall@1</th><th scope=\"col\">Recall@5</th>"
      "<th scope=\"col\">Recall@10</th></tr></thead>\n";
  for (const ReportRow& row : rows) {
    text += fmt::format(
        "<tbody>\n<tr class=\"model\"><th scope=\"rowgroup\" class=\"what\" rowspan=\"{}\"><b><bdi>{}</bdi></b>"
        "<span>{}</span><span>{} queries, {} candidates</span></th><th scope=\"row\">model</th>{}</tr>\n",
        row.pixels ? 3 : 2, escape_html(row.set), escape_html(row.direction), row.num_queries, row.num_candidates,
        recall_cells(row.model));
    const auto other = [&](std::string_view name, const RecallAtK& recall) {
      text += fmt::format("<tr class=\"other\"><th scope=\"row\">{}</th>{}</tr>\n", name, recall_cells(recall));
    };
    if (row.pixels) other("raw pixels", *row.pixels);
    other("chance", row.chance);
    text += "</tbody>\n";
  }
  return text + "</table></div>\n";
}

std::string image(const ReportPicture& picture, std::string_view css_class) {
  return fmt::format("<img{} src=\"data:image/png;base64,{}\" alt=\"{}\">",
                     css_class.empty() ? "" : fmt::format(" class=\"{}\"", css_class), base64(picture.png),
                     escape_html(picture.description));
}

// The mark says in words too what the colour says.
std::string score(double value, bool correct) {
  return fmt::format("{:.3f}{}", value, correct ? " ✓" : "");
}

// Opens a group of examples, under the name of their set, where the set changes.
std::string group(std::string_view set, std::string_view& open_set, bool& is_open, std::string_view css_class) {
  if (is_open && set == open_set) return "";
  const std::string text = fmt::format("{}<h3><bdi>{}</bdi></h3>\n<div class=\"{}\">\n", is_open ? "</div>\n" : "",
                                       escape_html(set), css_class);
  open_set = set;
  is_open = true;
  return text;
}

std::string text_queries(const std::vector<ReportTextQuery>& queries) {
  if (queries.empty()) return "";
  std::string text = "<h2>From text to pictures</h2>\n";
  std::string_view set;
  bool is_open = false;
  for (const ReportTextQuery& query : queries) {
    text += group(query.set, set, is_open, "texts");
    text += fmt::format("<section class=\"query\"><p class=\"ask\"><bdi>{}</bdi></p>\n<ol class=\"hits\">\n",
                        escape_html(query.text));
    for (const ReportPictureHit& hit : query.hits) {
      text += fmt::format("<li{}><figure>{}<figcaption>{}</figcaption></figure></li>\n",
                          hit.correct ? " class=\"right\"" : "", image(hit.picture, ""), score(hit.score, hit.correct));
    }
    text += "</ol></section>\n";
  }
  return text + "</div>\n";
}

std::string picture_queries(const std::vector<ReportPictureQuery>& queries) {
  if (queries.empty()) return "";
  std::string text = "<h2>From pictures to text</h2>\n";
  std::string_view set;
  bool is_open = false;
  for (const ReportPictureQuery& query : queries) {
    text += group(query.set, set, is_open, "pictures");
    text += fmt::format("<section class=\"query\"><div>{}</div><div><ol class=\"captions\">\n",
                        image(query.picture, "asked"));
    bool found = false;
    for (const ReportCaptionHit& hit : query.hits) {
      found = found || hit.correct;
      text += fmt::format("<li{}><bdi>{}</bdi><span class=\"score\">{}</span></li>\n",
                          hit.correct ? " class=\"right\"" : "", escape_html(hit.text), score(hit.score, hit.correct));
    }
    text += "</ol>";
    if (!found) text += fmt::format("<p class=\"truth\">It is: <bdi>{}</bdi></p>", escape_html(query.truth));
    text += "</div></section>\n";
  }
  return text + "</div>\n";
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
  // The policy makes "loads nothing" the browser's rule too, whatever a caption tries.
  std::string text = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
      "'unsafe-inline'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n<header>\n<h1>{}</h1>\n",
      title, internal::kReportStyle, title);
  if (!input.summary.empty()) text += fmt::format("<p>{}</p>\n", escape_html(input.summary));
  text += tiles(input.metrics) + "</header>\n<main>\n";
  text += results(input.rows);
  text += text_queries(input.text_queries);
  text += picture_queries(input.picture_queries);
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

}  // namespace triptych
