#include "report/svg_curve.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <fmt/format.h>

#include "report/html.h"

namespace triptych::report {

namespace {

// In the units of the viewBox; on a page a figure is 300 to 500 pixels wide.
constexpr double kWidth = 400, kHeight = 210, kLeft = 46, kRight = 12, kTop = 10, kBottom = 34;

struct Frame {
  double x_low, x_high, y_low, y_high;

  double x(double value) const { return kLeft + (value - x_low) / (x_high - x_low) * (kWidth - kLeft - kRight); }
  double y(double value) const {
    return kHeight - kBottom - (value - y_low) / (y_high - y_low) * (kHeight - kTop - kBottom);
  }
};

Frame frame_of(std::span<const CurvePoint> points, const CurveStyle& style) {
  std::vector<double> values;
  Frame frame{points.front().x, points.back().x, 0, 0};
  for (const CurvePoint& point : points) {
    if (std::isfinite(point.y)) values.push_back(point.y);
    frame.x_low = std::min(frame.x_low, point.x);
    frame.x_high = std::max(frame.x_high, point.x);
  }
  std::sort(values.begin(), values.end());
  frame.y_low = values.front();
  frame.y_high = values.back();
  // A few spikes would flatten everything else: then the frame is made for the other 99 %.
  const double most = values[(values.size() - 1) * 99 / 100];
  if (values.size() >= 100 && frame.y_high - frame.y_low > 4 * (most - frame.y_low) && most > frame.y_low) {
    frame.y_high = frame.y_low + 1.3 * (most - frame.y_low);
  }
  if (style.from_zero) frame.y_low = std::min(frame.y_low, 0.0);
  const double margin = (frame.y_high - frame.y_low) * 0.05;
  frame.y_high += margin;
  if (!style.from_zero) frame.y_low -= margin;
  if (!(frame.y_high > frame.y_low)) {  // one value only
    const double around = std::max(std::abs(frame.y_low) * 0.1, 1e-12);
    frame.y_low -= around;
    frame.y_high += around;
  }
  if (!(frame.x_high > frame.x_low)) {
    frame.x_low -= 1;
    frame.x_high += 1;
  }
  return frame;
}

// The path's commands; a gap starts a new piece.
std::string path(std::span<const CurvePoint> points, const Frame& frame) {
  std::string commands;
  bool pen_is_down = false;
  for (const CurvePoint& point : points) {
    if (!std::isfinite(point.y)) {
      pen_is_down = false;
      continue;
    }
    commands += fmt::format("{}{:.1f} {:.1f}", pen_is_down ? 'L' : 'M', frame.x(point.x), frame.y(point.y));
    pen_is_down = true;
  }
  return commands;
}

// The exponential mean with a window of a 40th of the points, unbiased at its start (as in Adam). The mean of a forward
// and a backward one, so that it does not lag. Spikes count as `y_high`, where the frame ends.
std::vector<CurvePoint> smoothed(std::span<const CurvePoint> points, double y_high) {
  const double decay = 1 - 1 / std::max(2.0, static_cast<double>(points.size()) / 40);
  std::vector<CurvePoint> means;
  for (const CurvePoint& point : points) {
    if (std::isfinite(point.y)) means.push_back({point.x, std::min(point.y, y_high)});
  }
  std::vector<double> forward(means.size());
  const auto run = [&](std::size_t i, double& sum, double& weight) {
    sum = decay * sum + (1 - decay) * means[i].y;
    weight = decay * weight + (1 - decay);
    return sum / weight;
  };
  double sum = 0, weight = 0;
  for (std::size_t i = 0; i < means.size(); ++i) forward[i] = run(i, sum, weight);
  sum = weight = 0;
  for (std::size_t i = means.size(); i-- > 0;) means[i].y = (forward[i] + run(i, sum, weight)) / 2;
  return means;
}

}  // namespace

std::string short_number(double value) {
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size >= 1e9 || size < 1e-3) {
    // 5e-04 → 5e-4
    std::string text = fmt::format("{:.2e}", value);
    const std::size_t e = text.find('e');
    std::string digits = text.substr(0, e);
    while (digits.back() == '0') digits.pop_back();
    if (digits.back() == '.') digits.pop_back();
    return fmt::format("{}e{}", digits, std::stoi(text.substr(e + 1)));
  }
  if (size >= 999950) return fmt::format("{:.3g}M", value / 1e6);
  if (size >= 9999.5) return fmt::format("{:.3g}k", value / 1e3);
  return size >= 999.5 ? fmt::format("{:.0f}", value) : fmt::format("{:.3g}", value);
}

std::vector<double> ticks(double low, double high) {
  const double rough = (high - low) / 4;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double distance = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * 0.999) {
      distance = factor * power;
      break;
    }
  }
  std::vector<double> values;
  const auto first = static_cast<int64_t>(std::ceil(low / distance - 1e-9));
  const auto last = static_cast<int64_t>(std::floor(high / distance + 1e-9));
  for (int64_t i = first; i <= last && values.size() < 12; ++i) values.push_back(static_cast<double>(i) * distance);
  return values;
}

std::vector<CurvePoint> thin_out(std::span<const CurvePoint> points, std::size_t max_points) {
  if (points.size() <= max_points) return {points.begin(), points.end()};
  const std::size_t num_groups = std::max<std::size_t>(max_points / 2, 1);
  std::vector<CurvePoint> kept;
  for (std::size_t group = 0; group < num_groups; ++group) {
    const std::size_t begin = points.size() * group / num_groups, end = points.size() * (group + 1) / num_groups;
    const CurvePoint *least = nullptr, *largest = nullptr;
    for (std::size_t i = begin; i < end; ++i) {
      const CurvePoint& point = points[i];
      if (!std::isfinite(point.y)) continue;
      if (least == nullptr || point.y < least->y) least = &point;
      if (largest == nullptr || point.y > largest->y) largest = &point;
    }
    if (least == nullptr) continue;
    kept.push_back(std::min(least, largest) == least ? *least : *largest);
    if (least != largest) kept.push_back(least < largest ? *largest : *least);
  }
  return kept;
}

std::string svg_curve(std::span<const CurvePoint> points, const CurveStyle& style) {
  const auto is_finite = [](const CurvePoint& point) { return std::isfinite(point.y); };
  const auto num_finite = std::count_if(points.begin(), points.end(), is_finite);
  if (num_finite == 0) return "";
  const Frame frame = frame_of(points, style);
  const auto num_above = std::count_if(points.begin(), points.end(), [&](const CurvePoint& point) {
    return is_finite(point) && point.y > frame.y_high;
  });
  const CurvePoint last = *std::find_if(points.rbegin(), points.rend(), is_finite);

  std::string note = fmt::format("last <b>{}</b>", short_number(last.y));
  if (num_above > 0) note += fmt::format(", {} above the frame", num_above);
  std::string text = fmt::format(
      "<figure class=\"curve\"><figcaption><span>{}</span><span class=\"note\">{}</span></figcaption>\n"
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
      escape_html(style.title), note, kWidth, kHeight, escape_html(style.title));

  for (const double tick : ticks(frame.y_low, frame.y_high)) {
    const double y = frame.y(tick);
    text += fmt::format("<path class=\"grid\" d=\"M{} {:.1f}H{}\"/><text x=\"{}\" y=\"{:.1f}\" class=\"y\">{}</text>\n",
                        kLeft, y, kWidth - kRight, kLeft - 6, y + 4, short_number(tick));
  }
  for (const double tick : ticks(frame.x_low, frame.x_high)) {
    const double x = frame.x(tick);
    text += fmt::format("<path class=\"tick\" d=\"M{:.1f} {}v4\"/><text x=\"{:.1f}\" y=\"{}\" class=\"x\">{}</text>\n",
                        x, kHeight - kBottom, x, kHeight - kBottom + 16, short_number(tick));
  }
  text += fmt::format("<path class=\"axis\" d=\"M{} {}H{}\"/><text x=\"{}\" y=\"{}\" class=\"name\">{}</text>\n", kLeft,
                      kHeight - kBottom, kWidth - kRight, kWidth - kRight, kHeight - 3, escape_html(style.x_name));

  // An inner SVG cuts what leaves the frame, without an id that two figures on a page could share.
  const double inner_width = kWidth - kLeft - kRight, inner_height = kHeight - kTop - kBottom;
  text += fmt::format("<svg x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\" viewBox=\"{0} {1} {2} {3}\">\n", kLeft,
                      kTop, inner_width, inner_height);
  if (num_finite == 1) {
    text +=
        fmt::format("<circle class=\"dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>\n", frame.x(last.x), frame.y(last.y));
  } else {
    const bool smooth = style.smooth && num_finite >= 40;
    text += fmt::format("<path class=\"{}\" d=\"{}\"/>\n", smooth ? "pale" : "line",
                        path(thin_out(points, kMaxCurvePoints), frame));
    if (smooth) {
      text += fmt::format("<path class=\"line\" d=\"{}\"/>\n",
                          path(thin_out(smoothed(points, frame.y_high), kMaxCurvePoints), frame));
    }
  }
  return text + "</svg>\n</svg></figure>\n";
}

}  // namespace triptych::report
