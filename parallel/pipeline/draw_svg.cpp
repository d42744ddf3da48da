#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "parallel/pipeline/draw.h"

namespace triptych::pipeline {

namespace {

struct Look {
  std::string_view colour, meaning;
};

Look look_of(Action::Kind kind) {
  switch (kind) {
    case Action::kForward:
      return {"#7aa6d8", "F forward"};
    case Action::kEmbed:
      return {"#c9dcf0", "E forward without a graph"};
    case Action::kLoss:
      return {"#333333", "L loss over the whole batch"};
    case Action::kBackward:
      return {"#e8a55f", "B backward"};
    case Action::kBackwardInput:
      return {"#e8c15f", "D backward of the inputs"};
    case Action::kBackwardWeight:
      return {"#8fc08f", "W backward of the weights"};
    default:
      return {"#ffffff", ""};
  }
}

}  // namespace

std::string draw_svg(const Simulation& simulation) {
  constexpr double kLeft = 64, kTop = 8, kRow = 28, kBox = 22, kLegend = 22;
  double shortest = simulation.makespan;
  int num_stages = 0;
  for (const auto& row : simulation.timeline) {
    for (const TimedAction& timed : row) {
      if (timed.end > timed.start) shortest = std::min(shortest, timed.end - timed.start);
      num_stages = std::max(num_stages, timed.action.stage + 1);
    }
  }
  // The shortest action is as wide as a name needs, as long as the picture stays within a screen's reach.
  constexpr double kNameWidth = 20, kMostWidth = 8000;
  const double span = std::max(simulation.makespan, 1e-300);
  const double scale = std::min(kNameWidth / std::max(shortest, 1e-300), kMostWidth / span);
  const bool stage_a_rank = num_stages <= static_cast<int>(simulation.timeline.size());
  const double width = kLeft + span * scale + 8;
  const double height = kTop + kRow * static_cast<double>(simulation.timeline.size()) + 2 * kLegend;
  std::string svg = fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0:.0f}" height="{1:.0f}" viewBox="0 0 {0:.0f} {1:.0f}" font-family="sans-serif" font-size="11">)"
      "\n"
      R"(<rect width="100%" height="100%" fill="#fff"/>)"
      "\n",
      std::max(width, 640.0), height);
  std::vector<Action::Kind> kinds;
  for (std::size_t r = 0; r < simulation.timeline.size(); ++r) {
    const double y = kTop + kRow * static_cast<double>(r);
    svg += fmt::format(R"(<text x="4" y="{:.1f}">{} {}</text>)"
                       "\n",
                       y + 15, stage_a_rank ? "stage" : "rank", r);
    for (const TimedAction& timed : simulation.timeline[r]) {
      const double x = kLeft + timed.start * scale, w = (timed.end - timed.start) * scale;
      const Action& action = timed.action;
      if (std::ranges::find(kinds, action.kind) == kinds.end()) kinds.push_back(action.kind);
      svg += fmt::format(
          R"(<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.0f}" fill="{}" stroke="#fff" stroke-width="0.5"><title>{}, {:g} to {:g}</title></rect>)",
          x, y, std::max(w, 1.0), kBox, look_of(action.kind).colour, to_string(action, true), timed.start, timed.end);
      if (w >= kNameWidth * 0.75) {
        // A rank's stages are told apart by the line under their names: the later, the longer.
        svg += fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>)", x + w / 2, y + 15,
                           to_string(action));
        if (!stage_a_rank) {
          svg += fmt::format(R"(<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="3" fill="#0006"/>)", x, y + kBox - 3,
                             w * (action.stage + 1) / num_stages);
        }
      }
      svg += '\n';
    }
  }
  double x = kLeft;
  const double y = kTop + kRow * static_cast<double>(simulation.timeline.size()) + 12;
  for (const Action::Kind kind : kinds) {
    const Look look = look_of(kind);
    svg += fmt::format(
        R"(<rect x="{:.0f}" y="{:.1f}" width="12" height="12" fill="{}"/><text x="{:.0f}" y="{:.1f}">{}</text>)"
        "\n",
        x, y - 10, look.colour, x + 16, y, look.meaning);
    x += 30 + 6.5 * static_cast<double>(look.meaning.size());
  }
  svg += fmt::format(R"(<text x="{:.0f}" y="{:.1f}">time {:g}, bubble {:.1f} %{}</text>)"
                     "\n</svg>\n",
                     kLeft, y + kLegend - 4, simulation.makespan, 100 * simulation.bubble_fraction,
                     stage_a_rank ? "" : "; the line under a box: the later the stage, the longer");
  return svg;
}

}  // namespace triptych::pipeline
