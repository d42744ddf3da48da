#pragma once

#include <string>

#include "parallel/pipeline/simulate.h"

namespace triptych::pipeline {

/// The simulation as a grid of text: a row a rank, time to the right, each action's name where it starts and as many
/// columns as it takes; `.` is idle, `|` the loss over the whole batch if it costs nothing. Then the bubble, in
/// per cent, and each rank's peak of kept activations. Where stage s is rank s's alone, rows are called stages;
/// otherwise each name has its stage, `F2@5`. Ends with a newline.
///
/// A column is the shortest cost's time, or a part of it where the other costs are no multiples of it; times are
/// rounded to columns.
std::string draw(const Simulation& simulation);

/// The same as an SVG picture: a box an action, whose tooltip has its stage and times. Where ranks have several stages
/// the bar under a name grows with the stage.
std::string draw_svg(const Simulation& simulation);

}  // namespace triptych::pipeline
