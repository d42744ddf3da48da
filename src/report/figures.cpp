#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "report/html.h"
#include "report/page_parts.h"

namespace triptych::report::internal {
namespace {

// Numbers of metrics.jsonl whose figures this file chooses itself; all others are the task's.
constexpr std::array<std::string_view, 9> kOwnKeys{"loss",          "learning_rate", "grad_norm",
                                                   "samples_per_s", "step_ms",       "loader_wait_ms",
                                                   "tflops",        "peak_share",    "rss_mb"};
bool is_of_task(std::string_view key) {
  return std::find(kOwnKeys.begin(), kOwnKeys.end(), key) == kOwnKeys.end();
}

// What an axis of times is marked in.
struct TimeUnit {
  std::string_view name;
  double seconds;
};
const TimeUnit& unit_of(double longest) {
  static constexpr std::array kUnits{TimeUnit{"s", 1}, TimeUnit{"min", 60}, TimeUnit{"h", 3600},
                                     TimeUnit{"days", 86400}};
  std::size_t i = 0;
  while (i + 1 < kUnits.size() && longest > 3 * kUnits[i + 1].seconds) ++i;
  return kUnits[i];
}

struct Figure {
  std::string key, title;
  bool from_zero = false, smooth = false;
};
const std::array<Figure, 2> kLearning{Figure{"learning_rate", "Learning rate", true, false},
                                      Figure{"grad_norm", "Gradient norm", true, true}};
const std::array<Figure, 3> kSpeed{Figure{"samples_per_s", "Samples per second", true, true},
                                   Figure{"loader_wait_ms", "Wait for the loader, ms a step", true, true},
                                   Figure{"rss_mb", "Memory of rank 0, MB", true, false}};

// Whether there is nothing to see: two points or more, all with one value.
bool is_constant(const Curve& curve) {
  const std::vector<CurvePoint> points = curve.outline();
  return points.size() > 1 && std::all_of(points.begin(), points.end(),
                                          [&](const CurvePoint& point) { return point.y == points.front().y; });
}

CurveLine line_of(std::string name, const Curve& curve, std::size_t color, bool is_marked = false) {
  return {.name = std::move(name),
          .points = curve.outline(),
          .means = curve.means(),
          .color = color,
          .is_marked = is_marked};
}

// Seconds at a step, between the steps that are known.
std::function<std::string(double)> time_of(const RunCurves& curves) {
  std::vector<CurvePoint> elapsed = curves.elapsed().outline();
  if (elapsed.size() < 2 || elapsed.back().y <= 0) return {};
  return [elapsed = std::move(elapsed)](double step) -> std::string {
    const auto next = std::find_if(elapsed.begin(), elapsed.end(), [&](const CurvePoint& p) { return p.x >= step; });
    if (next == elapsed.end()) return "";
    if (next == elapsed.begin()) return next->x == step ? short_duration(next->y) : "";
    const CurvePoint before = *(next - 1);
    return short_duration(before.y + (next->y - before.y) * (step - before.x) / (next->x - before.x));
  };
}

// The keys of held-out sets and those of the training, each once: the training's first.
std::vector<std::string> learned_keys(const std::vector<const RunCurves*>& runs) {
  std::vector<std::string> keys{"loss"};
  const auto put = [&](const std::string& key) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  };
  for (const RunCurves* run : runs) {
    for (const RunCurves::Named& named : run->curves()) {
      if (is_of_task(named.key)) put(named.key);
    }
  }
  for (const RunCurves* run : runs) {
    for (const RunCurves::HeldOut& held : run->held_out()) put(held.key);
  }
  return keys;
}

std::string grid(std::string_view heading, const std::string& figures, std::string_view below = "") {
  if (figures.empty()) return "";
  return fmt::format("<h2>{}</h2>\n<div class=\"curves\">\n{}</div>\n{}", heading, figures, below);
}

}  // namespace

std::string run_figures(const RunCurves& curves) {
  const std::function<std::string(double)> time = time_of(curves);
  const auto style = [&](const std::string& title, bool from_zero, bool smooth) {
    return CurveStyle{.title = title, .from_zero = from_zero, .smooth = smooth, .x_below = time};
  };
  std::string constants;  // what there is nothing to see of
  const auto put_constant = [&](const std::string& title, const Curve& curve) {
    constants +=
        fmt::format("{}{} {}", constants.empty() ? "" : "; ", escape_html(title), short_number(curve.last().y));
  };
  const auto constants_line = [&] {
    const std::string told = std::exchange(constants, "");
    return told.empty() ? "" : fmt::format("<p class=\"muted\">The same in every step: {}.</p>\n", told);
  };
  const auto plain = [&](std::span<const Figure> figures) {
    std::string text;
    for (const Figure& figure : figures) {
      const Curve* const curve = curves.find(figure.key);
      if (curve == nullptr) continue;
      if (is_constant(*curve) && figure.key != "learning_rate") {
        put_constant(figure.title, *curve);
        continue;
      }
      const CurveLine line = line_of("", *curve, 0);
      text += svg_curve(std::span(&line, 1), style(figure.title, figure.from_zero, figure.smooth));
    }
    return text;
  };
  std::string learning;
  for (const std::string& key : learned_keys({&curves})) {
    const Curve* const trained = curves.find(key);
    std::vector<CurveLine> lines;
    if (trained != nullptr) lines.push_back(line_of("training", *trained, 0));
    for (const RunCurves::HeldOut& held : curves.held_out()) {
      if (held.key == key)
        lines.push_back(line_of(held.set, held.curve, 1 + lines.size() - (trained != nullptr), true));
    }
    if (lines.size() == 1 && trained != nullptr && is_constant(*trained)) {
      put_constant(heading_of(key), *trained);
      continue;
    }
    learning += svg_curve(lines, style(heading_of(key), false, true));
  }
  learning += plain(kLearning);
  const std::string below = constants_line(), speed = plain(kSpeed);
  return grid("Training", learning, below) + grid("Speed", speed, constants_line());
}

std::string compared_figures(const std::vector<ComparedRun>& runs) {
  std::vector<const RunCurves*> all;
  for (const ComparedRun& run : runs) all.push_back(&run.report.curves);
  // A line a run. A figure that only one of them has keeps that run's colour.
  const auto compare = [&](const std::string& key, const std::string& title, bool from_zero, bool smooth) {
    std::vector<CurveLine> lines;
    for (std::size_t i = 0; i < runs.size(); ++i) {
      if (const Curve* const curve = all[i]->find(key)) lines.push_back(line_of(runs[i].name, *curve, i));
    }
    if (std::all_of(all.begin(), all.end(), [&](const RunCurves* run) {
          const Curve* const curve = run->find(key);
          return curve == nullptr || is_constant(*curve);
        })) {
      return std::string();
    }
    // Behind the last one, so that a figure of one run has a legend too.
    lines.push_back({});
    return svg_curve(lines, CurveStyle{.title = title, .from_zero = from_zero, .smooth = smooth});
  };
  std::string learning, speed;
  for (const std::string& key : learned_keys(all)) {
    learning += compare(key, heading_of(key), false, true);
    if (key == "loss") {
      double longest = 0;
      for (const RunCurves* run : all) longest = std::max(longest, run->empty() ? 0.0 : run->elapsed().last().y);
      const TimeUnit& unit = unit_of(longest);
      std::vector<CurveLine> lines;
      for (std::size_t i = 0; i < runs.size(); ++i) {
        const std::vector<CurvePoint> seconds = all[i]->elapsed().means();
        const Curve* const loss = all[i]->find("loss");
        if (loss == nullptr) continue;
        std::vector<CurvePoint> means = loss->means();
        // Both have a mean for the same groups of steps, unless some losses are not finite: then by the step's place.
        for (CurvePoint& point : means) {
          const auto place = std::lower_bound(seconds.begin(), seconds.end(), point.x,
                                              [](const CurvePoint& p, double x) { return p.x < x; });
          point.x = place == seconds.end() ? std::numeric_limits<double>::quiet_NaN() : place->y / unit.seconds;
        }
        std::erase_if(means, [](const CurvePoint& point) { return !std::isfinite(point.x); });
        lines.push_back({.name = runs[i].name, .points = std::move(means), .color = i});
      }
      lines.push_back({});
      learning += svg_curve(
          lines, CurveStyle{.title = "Loss by time in steps", .x_name = std::string(unit.name), .smooth = true});
    }
    std::set<std::string> sets;
    for (const RunCurves* run : all) {
      for (const RunCurves::HeldOut& held : run->held_out()) {
        if (held.key == key) sets.insert(held.set);
      }
    }
    for (const std::string& set : sets) {
      std::vector<CurveLine> lines;
      for (std::size_t i = 0; i < runs.size(); ++i) {
        for (const RunCurves::HeldOut& held : all[i]->held_out()) {
          if (held.key == key && held.set == set) lines.push_back(line_of(runs[i].name, held.curve, i, true));
        }
      }
      lines.push_back({});
      learning += svg_curve(lines, CurveStyle{.title = fmt::format("{}, {}", heading_of(key), set)});
    }
  }
  for (const Figure& figure : kLearning) learning += compare(figure.key, figure.title, figure.from_zero, figure.smooth);
  for (const Figure& figure : kSpeed) speed += compare(figure.key, figure.title, figure.from_zero, figure.smooth);
  return grid("Training", learning) + grid("Speed", speed);
}

}  // namespace triptych::report::internal
