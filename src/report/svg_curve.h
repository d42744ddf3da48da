#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::report {

struct CurvePoint {
  double x = 0, y = 0;
};

struct CurveStyle {
  std::string title;
  std::string x_name = "step";
  bool from_zero = false;  ///< the vertical axis starts at 0; otherwise at the least value
  bool smooth = false;     ///< the points pale, and their exponential mean on top
};

/// Points that a curve is drawn with at most.
inline constexpr std::size_t kMaxCurvePoints = 1200;

/// A `<figure>` with the title, the last value and an inline SVG: axes, ticks and the curve, whose colours are the
/// page's CSS classes. Points whose y is not finite are gaps. The frame leaves out rare spikes and says how many. "" if
/// no point is finite.
std::string svg_curve(std::span<const CurvePoint> points, const CurveStyle& style);

/// At most `max_points` points that keep the outline: of each group of neighbours the least and the largest, in their
/// order. Points that are not finite are left out of a group.
std::vector<CurvePoint> thin_out(std::span<const CurvePoint> points, std::size_t max_points);

/// "0", "0.25", "1500", "25k", "1.2M", "5e-4": short, for ticks and titles.
std::string short_number(double value);

/// Round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`, some four of them.
std::vector<double> ticks(double low, double high);

}  // namespace triptych::report
