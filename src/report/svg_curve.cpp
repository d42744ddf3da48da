#include "report/svg_curve.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include <fmt/format.h>

#include "base/error.h"
#include "report/html.h"
#include "report/svg_file.h"

namespace triptych::report {

namespace {

// In the units of the viewBox; on a page a figure is 300 to 500 pixels wide.
constexpr double kWidth = 400, kHeight = 210, kLeft = 46, kRight = 12, kTop = 10, kBottom = 34;
constexpr double kLabelHeight = 14;  // of a second line of labels

bool is_finite(const CurvePoint& point) {
  return std::isfinite(point.y);
}

struct Frame {
  double x_low = std::numeric_limits<double>::infinity(), x_high = -x_low, y_low = 0, y_high = 0;
  bool log_x = false, log_y = false;

  double x(double value) const { return kLeft + share(value, x_low, x_high, log_x) * (kWidth - kLeft - kRight); }
  double y(double value) const {
    return kHeight - kBottom - share(value, y_low, y_high, log_y) * (kHeight - kTop - kBottom);
  }

 private:
  // Where it lies between the two.
  static double share(double value, double low, double high, bool is_log) {
    return is_log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
  }
};

// 1, 2 or 5 times powers of ten; powers alone where these are many.
std::vector<double> log_ticks(double low, double high) {
  std::vector<double> values;
  const bool are_many = high / low > 1e3;
  for (double power = std::pow(10, std::floor(std::log10(low))); power <= high; power *= 10) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double value = factor * power;
      if (value >= low * 0.999 && value <= high * 1.001 && (factor == 1 || !are_many)) values.push_back(value);
    }
  }
  return values;
}

// Those that a frame is made for: a few spikes would flatten everything else, so then it is the other 99 %.
double most_of(const std::vector<double>& sorted) {
  const double least = sorted.front(), largest = sorted.back(), most = sorted[(sorted.size() - 1) * 99 / 100];
  const bool has_spikes = sorted.size() >= 100 && largest - least > 4 * (most - least) && most > least;
  return has_spikes ? least + 1.3 * (most - least) : largest;
}

// Some point of the lines is finite.
Frame frame_of(std::span<const CurveLine> lines, const CurveStyle& style) {
  Frame frame;
  bool is_first = true;
  for (const CurveLine& line : lines) {
    std::vector<double> values;
    for (const CurvePoint& point : line.points) {
      if (std::isfinite(point.y)) values.push_back(point.y);
      frame.x_low = std::min(frame.x_low, point.x);
      frame.x_high = std::max(frame.x_high, point.x);
    }
    if (values.empty()) continue;
    std::sort(values.begin(), values.end());
    frame.y_low = is_first ? values.front() : std::min(frame.y_low, values.front());
    frame.y_high = is_first ? most_of(values) : std::max(frame.y_high, most_of(values));
    is_first = false;
  }
  frame.log_x = style.log_x;
  frame.log_y = style.log_y;
  const bool has_dots = std::any_of(lines.begin(), lines.end(), [](const CurveLine& line) { return line.is_marked; });
  if (style.log_y) {
    TRIPTYCH_CHECK(frame.y_low > 0, "a logarithm of {}", frame.y_low);
    frame.y_low /= 1.25;
    frame.y_high *= 1.25;
  }
  if (style.log_x) {
    TRIPTYCH_CHECK(frame.x_low > 0, "a logarithm of {}", frame.x_low);
    if (frame.x_high <= frame.x_low) frame.x_high = 2 * frame.x_low;
  } else if (!(frame.x_high > frame.x_low)) {
    frame.x_low -= 1;
    frame.x_high += 1;
  }
  if (has_dots) {  // those at the ends are whole then
    const double margin =
        style.log_x ? std::pow(frame.x_high / frame.x_low, 0.03) : (frame.x_high - frame.x_low) * 0.03;
    frame.x_low = style.log_x ? frame.x_low / margin : frame.x_low - margin;
    frame.x_high = style.log_x ? frame.x_high * margin : frame.x_high + margin;
  }
  if (style.log_y) return frame;
  if (style.from_zero) frame.y_low = std::min(frame.y_low, 0.0);
  const double margin = (frame.y_high - frame.y_low) * 0.05;
  frame.y_high += margin;
  if (!style.from_zero) frame.y_low -= margin;
  if (!(frame.y_high > frame.y_low)) {  // one value only
    const double around = std::max(std::abs(frame.y_low) * 0.1, 1e-12);
    frame.y_low -= around;
    frame.y_high += around;
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

// Axes, ticks and lines, some point of which is finite, within a viewBox of kWidth by kHeight or, with a second label,
// kLabelHeight more.
std::string drawing(std::span<const CurveLine> lines, const Frame& frame, const CurveStyle& style) {
  std::string text;
  for (const double tick : frame.log_y ? log_ticks(frame.y_low, frame.y_high) : ticks(frame.y_low, frame.y_high)) {
    const double y = frame.y(tick);
    text += fmt::format("<path class=\"grid\" d=\"M{} {:.1f}H{}\"/><text x=\"{}\" y=\"{:.1f}\" class=\"y\">{}</text>\n",
                        kLeft, y, kWidth - kRight, kLeft - 6, y + 4, short_number(tick));
  }
  // The last label must leave room for the axis's name, which stands below them where they are given.
  const double name_y = kHeight - kBottom + (style.x_ticks.empty() ? 16 : 30);
  const double name_x = kWidth - kRight, name_width = 6.0 * static_cast<double>(style.x_name.size());
  for (const double tick : style.x_ticks.empty() ? ticks(frame.x_low, frame.x_high) : style.x_ticks) {
    const double x = frame.x(tick);
    text += fmt::format("<path class=\"tick\" d=\"M{:.1f} {}v4\"/>", x, kHeight - kBottom);
    const auto put = [&](const std::string& label, double y) {
      const double half = 3.2 * static_cast<double>(label.size());
      if (style.x_ticks.empty() && x + half > name_x - name_width) return;
      text += fmt::format("<text x=\"{:.1f}\" y=\"{}\" class=\"x\">{}</text>\n", x, y, escape_html(label));
    };
    put(short_number(tick), kHeight - kBottom + 16);
    if (style.x_below) put(style.x_below(tick), kHeight - kBottom + 16 + kLabelHeight);
  }
  text += fmt::format("<path class=\"axis\" d=\"M{} {}H{}\"/><text x=\"{}\" y=\"{}\" class=\"name\">{}</text>\n", kLeft,
                      kHeight - kBottom, kWidth - kRight, name_x, name_y, escape_html(style.x_name));
  if (style.x_below) {
    text += fmt::format("<text x=\"{}\" y=\"{}\" class=\"name\">time</text>\n", name_x,
                        kHeight - kBottom + 16 + kLabelHeight);
  }

  // An inner SVG cuts what leaves the frame, without an id that two figures on a page could share.
  const double inner_width = kWidth - kLeft - kRight, inner_height = kHeight - kTop - kBottom;
  text += fmt::format("<svg x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\" viewBox=\"{0} {1} {2} {3}\">\n", kLeft,
                      kTop, inner_width, inner_height);
  for (const CurveLine& line : lines) {
    const std::size_t color = line.color % kNumCurveColors;
    const auto num_finite = std::count_if(line.points.begin(), line.points.end(), is_finite);
    if (num_finite == 1 || line.is_marked) {
      for (const CurvePoint& point : thin_out(line.points, kMaxCurvePoints)) {
        if (is_finite(point))
          text += fmt::format("<circle class=\"{} c{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>\n",
                              line.is_thin ? "ring" : "dot", color, frame.x(point.x), frame.y(point.y));
      }
    }
    if (num_finite == 1) continue;
    const bool smooth = style.smooth && num_finite >= 40;
    if (!smooth || lines.size() == 1) {
      const char* const kind = smooth ? "pale" : line.is_thin ? "thin" : "line";
      text += fmt::format("<path class=\"{} c{}\" d=\"{}\"/>\n", kind, color,
                          path(thin_out(line.points, kMaxCurvePoints), frame));
    }
    if (smooth) {
      text += fmt::format(
          "<path class=\"line c{}\" d=\"{}\"/>\n", color,
          path(thin_out(smoothed(line.means.empty() ? line.points : line.means, frame.y_high), kMaxCurvePoints),
               frame));
    }
  }
  return text + "</svg>\n";
}

std::vector<CurveLine> finite_lines(std::span<const CurveLine> all_lines) {
  std::vector<CurveLine> lines;
  for (const CurveLine& line : all_lines) {
    if (std::any_of(line.points.begin(), line.points.end(), is_finite)) lines.push_back(line);
  }
  return lines;
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

std::string short_duration(double seconds) {
  const auto say = [](double number, const char* unit) {
    const bool is_whole = number >= 10 || std::abs(number - std::round(number)) < 0.05;
    return fmt::format("{:.{}f} {}", number, is_whole ? 0 : 1, unit);
  };
  if (seconds < 99.5) return fmt::format("{:.0f} s", seconds);
  if (seconds < 99.5 * 60) return say(seconds / 60, "min");
  if (seconds < 48 * 3600) return say(seconds / 3600, "h");
  return say(seconds / 86400, "d");
}

std::string svg_curve(std::span<const CurvePoint> points, const CurveStyle& style) {
  const CurveLine line{.name = "", .points = {points.begin(), points.end()}};
  return svg_curve(std::span(&line, 1), style);
}

std::string svg_curve(std::span<const CurveLine> all_lines, const CurveStyle& style) {
  const std::vector<CurveLine> lines = finite_lines(all_lines);
  if (lines.empty()) return "";
  const Frame frame = frame_of(lines, style);
  const bool is_alone = all_lines.size() == 1;
  const double height = style.x_below ? kHeight + kLabelHeight : kHeight;

  const auto last_of = [&](const CurveLine& line) {
    return std::find_if(line.points.rbegin(), line.points.rend(), is_finite)->y;
  };
  std::ptrdiff_t num_above = 0;
  for (const CurveLine& line : lines) {
    num_above += std::count_if(line.points.begin(), line.points.end(),
                               [&](const CurvePoint& point) { return is_finite(point) && point.y > frame.y_high; });
  }
  std::string note = is_alone ? fmt::format("last <b>{}</b>", short_number(last_of(lines.front()))) : "";
  if (num_above > 0) note += fmt::format("{}{} above the frame", note.empty() ? "" : ", ", num_above);
  std::string text =
      fmt::format("<figure class=\"curve\"><figcaption><span>{}</span><span class=\"note\">{}</span></figcaption>\n",
                  escape_html(style.title), note);
  std::string words = style.title;
  if (!is_alone) {
    text += "<ul class=\"legend\">";
    for (const CurveLine& line : lines) {
      const std::string last = short_number(last_of(line));
      text += fmt::format("<li class=\"c{}\"><bdi>{}</bdi> <b>{}</b></li>", line.color % kNumCurveColors,
                          escape_html(line.name), last);
      words += fmt::format("; {}: last {}", line.name, last);
    }
    text += "</ul>\n";
  }
  text +=
      fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n", kWidth, height, escape_html(words));

  return text + drawing(lines, frame, style) + "</svg></figure>\n";
}

std::string svg_curve_file(std::span<const CurveLine> all_lines, const CurveStyle& style) {
  const std::vector<CurveLine> lines = finite_lines(all_lines);
  if (lines.empty()) return "";
  std::vector<LegendEntry> legend;
  if (all_lines.size() > 1) {
    for (const CurveLine& line : lines) legend.push_back({line.name, line.color, line.is_thin});
  }
  return svg_file(style.title, legend, kWidth, style.x_below ? kHeight + kLabelHeight : kHeight,
                  drawing(lines, frame_of(lines, style), style));
}

}  // namespace triptych::report
