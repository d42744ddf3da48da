#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::report {

struct CurvePoint {
  double x = 0, y = 0;
};

/// One line of a figure.
struct CurveLine {
  std::string name;                ///< for the legend; of a figure with one line, unused
  std::vector<CurvePoint> points;  ///< by rising x; those whose y is not finite are gaps
  /// What a smoothed line is made of: means of neighbouring points. Empty: the points themselves.
  std::vector<CurvePoint> means = {};
  std::size_t color = 0;   ///< of kNumCurveColors
  bool is_marked = false;  ///< each point has a dot: there are few, and what lies between is not known
  bool is_thin = false;    ///< a thin line, whose dots are rings: what is expected, beside what was measured
};
inline constexpr std::size_t kNumCurveColors = 8;

struct CurveStyle {
  std::string title;
  std::string x_name = "step";
  bool from_zero = false;  ///< the vertical axis starts at 0; otherwise at the least value
  bool smooth = false;     ///< the points pale, and their exponential mean on top; alone where there are several lines
  std::function<std::string(double x)> x_below = {};  ///< a second label below each tick, such as the time
  std::vector<double> x_ticks = {};                   ///< rising; empty: round numbers
  /// Axes of logarithms, of numbers above 0; that of y does not start at 0.
  bool log_x = false, log_y = false;
};

/// Points that a line is drawn with at most.
inline constexpr std::size_t kMaxCurvePoints = 1200;

/// A `<figure>` with the title, the last value or a legend, and an inline SVG: axes, ticks and the lines, whose colours
/// are the page's CSS classes. The frame leaves out rare spikes and says how many. "" if no point is finite.
std::string svg_curve(std::span<const CurveLine> lines, const CurveStyle& style);
/// Of one line.
std::string svg_curve(std::span<const CurvePoint> points, const CurveStyle& style);

/// The same lines as an SVG file of its own, with title and legend, which depends on no page. "" if no point is finite.
std::string svg_curve_file(std::span<const CurveLine> lines, const CurveStyle& style);

/// At most `max_points` points that keep the outline: of each group of neighbours the least and the largest, in their
/// order. Points that are not finite are left out of a group.
std::vector<CurvePoint> thin_out(std::span<const CurvePoint> points, std::size_t max_points);

/// "0", "0.25", "1500", "25k", "1.2M", "5e-4": short, for ticks and titles.
std::string short_number(double value);

/// "0 s", "45 s", "12 min", "3.5 h", "4.2 d".
std::string short_duration(double seconds);

/// Round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`, some four of them.
std::vector<double> ticks(double low, double high);

}  // namespace triptych::report
