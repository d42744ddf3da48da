#include "parallel/pipeline/draw.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>

#include <fmt/format.h>

namespace triptych::pipeline {

namespace {

using std::size_t;

// The time of one column: the shortest duration, or a half, a third or a quarter of it if that makes all durations
// multiples. At most a quarter otherwise, so that rounding never hides an action.
double column_time(const Simulation& simulation) {
  std::vector<double> durations;
  for (const auto& row : simulation.timeline) {
    for (const TimedAction& timed : row) {
      if (const double duration = timed.end - timed.start; duration > 0) durations.push_back(duration);
    }
  }
  if (durations.empty()) return 1;
  const double shortest = *std::min_element(durations.begin(), durations.end());
  for (int parts = 1; parts <= 4; ++parts) {
    const double unit = shortest / parts;
    const bool fits = std::all_of(durations.begin(), durations.end(), [&](double duration) {
      const double columns = duration / unit;
      return std::abs(columns - std::round(columns)) < 1e-6 * columns;
    });
    if (fits) return unit;
  }
  return shortest / 4;
}

// Whether rank r does the actions of stage r alone: then a row is a stage's, and no action need name its stage.
bool has_stage_a_rank(const Simulation& simulation) {
  for (size_t r = 0; r < simulation.timeline.size(); ++r) {
    for (const TimedAction& timed : simulation.timeline[r]) {
      if (timed.action.stage != static_cast<int>(r)) return false;
    }
  }
  return true;
}

}  // namespace

std::string draw(const Simulation& simulation) {
  // More columns than this make no picture; a very uneven pair of costs would ask for them.
  constexpr double kMaxColumns = 4096;
  const double unit = std::max(column_time(simulation), simulation.makespan / kMaxColumns);
  const auto column = [&](double time) { return static_cast<size_t>(std::llround(time / unit)); };

  const bool stage_a_rank = has_stage_a_rank(simulation);
  const auto label = [&](const Action& action) { return to_string(action, !stage_a_rank); };
  size_t label_width = 1;
  std::set<Action::Kind> kinds;
  for (const auto& row : simulation.timeline) {
    for (const TimedAction& timed : row) {
      label_width = std::max(label_width, label(timed.action).size());
      kinds.insert(timed.action.kind);
    }
  }
  const size_t cell_width = label_width + 1;
  const size_t num_columns = column(simulation.makespan);
  const size_t row_digits = fmt::formatted_size("{}", simulation.timeline.size() - 1);

  std::string text;
  bool has_mark = false;
  for (size_t r = 0; r < simulation.timeline.size(); ++r) {
    // A cell is a mark, usually a space, and then its label; `.` in idle cells, and `-` where an action goes on.
    std::string row;
    for (size_t c = 0; c < num_columns; ++c) row += fmt::format(" {:<{}}", '.', label_width);
    for (const TimedAction& timed : simulation.timeline[r]) {
      const size_t first = column(timed.start), last = column(timed.end);
      if (first == last) {
        // Takes no column: only the loss can, at a cost of 0, without hiding a piece of work.
        if (timed.action.kind == Action::kLoss && first < num_columns) {
          row[first * cell_width] = '|';
          has_mark = true;
        }
        continue;
      }
      const std::string name = label(timed.action);
      const size_t begin = first * cell_width + 1, end = last * cell_width;
      const char rest = last == first + 1 ? ' ' : '-';
      for (size_t i = begin; i < end; ++i) row[i] = i - begin < name.size() ? name[i - begin] : rest;
    }
    text += fmt::format("{} {:>{}} {}", stage_a_rank ? "stage" : "rank", r, row_digits, row);
    while (text.back() == ' ') text.pop_back();
    text += '\n';
  }
  text += "\nF forward   ";
  if (kinds.contains(Action::kBackward)) text += "B backward   ";
  if (kinds.contains(Action::kBackwardInput)) text += "D backward of the inputs   W backward of the weights   ";
  if (kinds.contains(Action::kEmbed)) text += "E forward without a graph   ";
  if (has_mark) text += "| the loss over the whole batch   ";
  text += ". idle\n";

  text += fmt::format("\ntime                   {:g}\n", simulation.makespan);
  text += fmt::format("bubble                 {:.1f} %\n", 100 * simulation.bubble_fraction);
  text += "peak kept activations ";
  for (const int peak : simulation.peak_activations) text += fmt::format(" {}", peak);
  text += stage_a_rank ? "   (microbatches, by stage)\n" : "   (microbatches of a stage, by rank)\n";
  return text;
}

}  // namespace triptych::pipeline
