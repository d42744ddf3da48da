#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::report {

struct LegendEntry {
  std::string name;
  std::size_t color = 0;  ///< of kNumCurveColors
  bool is_thin = false;   ///< as a CurveLine is
};

/// An SVG file around a drawing of `width` by `height`: a light page, the title, the legend below it, then the drawing.
/// It has the styles of the drawing's classes, those of a report's figures, in colours that every viewer knows.
std::string svg_file(std::string_view title, std::span<const LegendEntry> legend, double width, double height,
                     std::string_view drawing);

/// One bar: what its parts add up to.
struct StackedBar {
  std::string name;
  std::vector<double> parts;  ///< as many as there are names of parts; not negative
  bool is_thin = false;       ///< half as high, close to the bar before: what was expected of that
};

/// An SVG file with a lying bar for each of `bars`, one below the other, from zero, with its sum behind it; each part
/// has a colour, the legend's, and a tooltip. Throws InternalError if a bar has another number of parts. "" without
/// bars.
///   unit   of the numbers: "ms"
std::string svg_stacked_bars(std::string_view title, std::string_view unit, std::span<const std::string> part_names,
                             std::span<const StackedBar> bars);

}  // namespace triptych::report
