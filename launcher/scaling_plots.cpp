#include "launcher/scaling_plots.h"

#include <algorithm>
#include <set>
#include <utility>

#include "report/svg_curve.h"
#include "report/svg_file.h"

namespace triptych::launcher {
namespace {

// Lines by name, in the order in which they are first asked for.
class Lines {
 public:
  report::CurveLine& of(const std::string& name, bool is_planned = false) {
    const std::string full = is_planned ? name + ", planned" : name;
    const auto found = std::find_if(lines_.begin(), lines_.end(), [&](const auto& line) { return line.name == full; });
    if (found != lines_.end()) return *found;
    const std::size_t color = is_planned ? of(name).color : num_colors_++;
    return lines_.emplace_back(
        report::CurveLine{.name = full, .points = {}, .color = color, .is_marked = true, .is_thin = is_planned});
  }
  report::CurveLine& ideal() { return lines_.front(); }
  const std::vector<report::CurveLine>& all() const { return lines_; }

 private:
  std::vector<report::CurveLine> lines_{
      {.name = "ideal", .points = {}, .color = report::kNumCurveColors - 1, .is_thin = true}};
  std::size_t num_colors_ = 0;
};

double efficiency(double rate, const ScalingPoint& point, double base_rate, const ScalingPoint& base) {
  return rate / point.num_ranks / (base_rate / base.num_ranks);
}

// Names of parts: the first where bars are compared best, at their foot.
std::vector<std::string> names_of(const std::vector<std::map<std::string, double>>& bars, const std::string& first) {
  std::set<std::string> names;
  for (const auto& bar : bars) {
    for (const auto& [name, value] : bar) {
      if (value > 0) names.insert(name);
    }
  }
  std::vector<std::string> ordered;
  if (names.erase(first) > 0) ordered.push_back(first);
  ordered.insert(ordered.end(), names.begin(), names.end());
  return ordered;
}

// A bar a mesh, with what was planned below it.
std::string bars(const std::string& title, const std::string& unit, const std::string& first,
                 const std::vector<ScalingRuns>& runs, const std::vector<std::map<std::string, double>>& measured,
                 std::map<std::string, double> StepPrediction::*planned) {
  std::vector<std::map<std::string, double>> all;
  std::vector<report::StackedBar> result;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    all.push_back(measured[i]);
    result.push_back({.name = runs[i].point.name, .parts = {}});
    if (!runs[i].planned) continue;
    all.push_back(*runs[i].planned.*planned);
    result.push_back({.name = "planned", .parts = {}, .is_thin = true});
  }
  const std::vector<std::string> names = names_of(all, first);
  for (std::size_t i = 0; i < result.size(); ++i) {
    for (const std::string& name : names) result[i].parts.push_back(all[i][name]);
  }
  return report::svg_stacked_bars(title, unit, names, result);
}

}  // namespace

std::map<std::string, std::string> scaling_plots(const std::vector<ScalingRuns>& runs,
                                                 const std::vector<ScalingSummary>& summaries) {
  const ScalingPoint &first = runs.front().point, &last = runs.back().point;
  const double base_rate = summaries.front().samples_per_s_median;
  Lines rates, efficiencies;
  std::set<int> counts{first.num_ranks, last.num_ranks};
  for (const int n : counts) {
    rates.ideal().points.push_back({static_cast<double>(n), base_rate / first.num_ranks * n});
    efficiencies.ideal().points.push_back({static_cast<double>(n), 1});
  }
  std::set<std::string> asked;  // one rank begins all lines that an axis makes
  for (const ScalingRuns& one : runs) {
    counts.insert(one.point.num_ranks);
    if (one.point.num_ranks > 1) asked.insert(one.point.line);
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const ScalingPoint& point = runs[i].point;
    const auto n = static_cast<double>(point.num_ranks);
    for (const std::string& name : point.num_ranks > 1 ? std::set<std::string>{point.line} : asked) {
      rates.of(name).points.push_back({n, summaries[i].samples_per_s_median});
      efficiencies.of(name).points.push_back({n, summaries[i].efficiency_median});
      if (!runs[i].planned) continue;
      const auto planned_rate = [](const ScalingRuns& of) {
        return 1e3 * static_cast<double>(of.point.global_batch) / of.planned->step_ms;
      };
      rates.of(name, true).points.push_back({n, planned_rate(runs[i])});
      efficiencies.of(name, true)
          .points.push_back({n, efficiency(planned_rate(runs[i]), point, planned_rate(runs.front()), first)});
    }
  }
  std::vector<std::map<std::string, double>> times, memories;
  for (const ScalingSummary& summary : summaries) {
    times.push_back(summary.part_ms);
    memories.push_back(summary.memory_mb);
  }
  const bool is_wide = last.num_ranks >= 8 * first.num_ranks;
  const auto style = [&](std::string title, bool log_y) {
    return report::CurveStyle{.title = std::move(title),
                              .x_name = "ranks",
                              .from_zero = true,
                              .x_ticks = {counts.begin(), counts.end()},
                              .log_x = is_wide,
                              .log_y = log_y};
  };
  return {{"throughput.svg", report::svg_curve_file(rates.all(), style("Samples a second", is_wide))},
          {"efficiency.svg",
           report::svg_curve_file(efficiencies.all(), style("Efficiency: samples a second and rank, of ideal", false))},
          {"time.svg",
           bars("A step's time by part, mean of the ranks", "ms", "compute", runs, times, &StepPrediction::part_ms)},
          {"memory.svg", bars("Memory at its peak, of the rank with most", "MiB", "activations", runs, memories,
                              &StepPrediction::memory_mb)}};
}

}  // namespace triptych::launcher
