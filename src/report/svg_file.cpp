#include "report/svg_file.h"

#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>

#include "base/error.h"
#include "report/html.h"
#include "report/svg_curve.h"

namespace triptych::report {
namespace {

// Those of a report's light page.
constexpr std::array<std::string_view, kNumCurveColors> kColors{"#2f5fd0", "#c2571a", "#1b7f4d", "#8b3fa8",
                                                                "#a67c00", "#b0305c", "#12808c", "#5f5b54"};
constexpr std::array<std::string_view, 4> kDashes{"none", "7 4", "2 4", "10 3 2 3"};

std::string style_sheet() {
  std::string text =
      "text { font: 11px sans-serif; fill: #6d6a63; }\n.title { font: bold 13px sans-serif; fill: #1c1b19; }\n"
      ".y, .name { text-anchor: end; } .x { text-anchor: middle; }\npath { fill: none; } .grid { stroke: #e4e1da; }"
      " .axis, .tick { stroke: #6d6a63; }\n.line { stroke-width: 2; } .pale { stroke-width: 1; opacity: 0.35; }\n"
      ".thin { stroke-width: 1; } .ring { fill: #ffffff; stroke-width: 1.2; }\n";
  for (std::size_t i = 0; i < kNumCurveColors; ++i) {
    text += fmt::format(
        ".line.c{0}, .pale.c{0} {{ stroke: {1}; stroke-dasharray: {2}; }} .dot.c{0}, .bar.c{0} {{ fill: {1}; }}\n"
        ".thin.c{0}, .ring.c{0} {{ stroke: {1}; }}\n",
        i, kColors[i], kDashes[i % kDashes.size()]);
  }
  return text;
}

// Some more than a letter of 11 px is wide.
double width_of(std::string_view text) {
  return 6.5 * static_cast<double>(text.size());
}

}  // namespace

std::string svg_file(std::string_view title, std::span<const LegendEntry> legend, double width, double height,
                     std::string_view drawing) {
  constexpr double kMargin = 10, kTitle = 24, kRow = 16, kSwatch = 16;
  std::string entries;
  double x = kMargin, y = kTitle + kRow - 4;
  for (const LegendEntry& entry : legend) {
    const double needs = kSwatch + 6 + width_of(entry.name) + 10;
    if (x > kMargin && x + needs > width) {
      x = kMargin;
      y += kRow;
    }
    entries += fmt::format(
        "<rect class=\"bar c{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{}\" height=\"{}\"/><text x=\"{:.1f}\" "
        "y=\"{:.1f}\">{}</text>\n",
        entry.color % kNumCurveColors, x, entry.is_thin ? y - 5 : y - 7, kSwatch, entry.is_thin ? 1.5 : 6,
        x + kSwatch + 6, y, escape_html(entry.name));
    x += needs;
  }
  const double top = legend.empty() ? kTitle : y + 8;
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {2:.0f} "
      "{3:.0f}\">\n"
      "<style>\n{4}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
      "<text class=\"title\" x=\"{5}\" y=\"18\">{6}</text>\n{7}<g transform=\"translate(0 "
      "{8:.1f})\">\n{9}</g>\n</svg>\n",
      1.6 * width, 1.6 * (top + height), width, top + height, style_sheet(), kMargin, escape_html(title), entries, top,
      drawing);
}

std::string svg_stacked_bars(std::string_view title, std::string_view unit, std::span<const std::string> part_names,
                             std::span<const StackedBar> bars) {
  if (bars.empty()) return "";
  constexpr double kWidth = 480, kBar = 16, kGap = 8, kRight = 70, kBottom = 24;
  double left = 40, most = 0;
  for (const StackedBar& bar : bars) {
    TRIPTYCH_CHECK(bar.parts.size() == part_names.size(), "{} parts, {} names", bar.parts.size(), part_names.size());
    left = std::max(left, width_of(bar.name) + 16);
    most = std::max(most, std::accumulate(bar.parts.begin(), bar.parts.end(), 0.0));
  }
  const double width = left + kWidth, scale = (kWidth - kRight) / std::max(most, 1e-300);
  // What was expected of a bar lies close below it.
  const auto height_of = [](const StackedBar& bar) { return bar.is_thin ? kBar / 2 : kBar; };
  const auto gap_behind = [&](std::size_t i) { return i + 1 < bars.size() && bars[i + 1].is_thin ? 2.0 : kGap; };
  double bottom = kGap / 2;
  for (std::size_t i = 0; i < bars.size(); ++i) bottom += height_of(bars[i]) + gap_behind(i);
  std::string text;
  for (const double tick : ticks(0, std::max(most, 1e-300))) {
    const double x = left + tick * scale;
    text += fmt::format(
        "<path class=\"grid\" d=\"M{0:.1f} 0V{1:.1f}\"/><text class=\"x\" x=\"{0:.1f}\" y=\"{2:.1f}\">{3}</text>\n", x,
        bottom, bottom + 14, short_number(tick));
  }
  double y = kGap / 2;
  for (std::size_t row = 0; row < bars.size(); ++row) {
    const StackedBar& bar = bars[row];
    const double height = height_of(bar), baseline = y + height / 2 + 4;
    text += fmt::format("<text class=\"y\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", left - 6, baseline,
                        escape_html(bar.name));
    double sum = 0;
    for (std::size_t i = 0; i < bar.parts.size(); ++i) {
      if (bar.parts[i] <= 0) continue;
      text += fmt::format(
          "<rect class=\"bar c{}\" x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{}\"><title>{}: {} "
          "{}</title></rect>\n",
          i % kNumCurveColors, left + sum * scale, y, bar.parts[i] * scale, height, escape_html(part_names[i]),
          short_number(bar.parts[i]), escape_html(unit));
      sum += bar.parts[i];
    }
    text += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{} {}</text>\n", left + sum * scale + 6, baseline,
                        short_number(sum), escape_html(unit));
    y += height + gap_behind(row);
  }
  std::vector<LegendEntry> legend;
  for (std::size_t i = 0; i < part_names.size(); ++i) legend.push_back({part_names[i], i});
  return svg_file(title, legend, width, bottom + kBottom, text);
}

}  // namespace triptych::report
