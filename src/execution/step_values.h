#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "objectives/objective.h"

namespace triptych::execution {

/// A number that a step finds out, as people read it.
struct StepValue {
  std::string name;                     ///< its key in metrics.jsonl
  std::function<double(double)> shown;  ///< of what the device holds; none: as it is
};

/// What a step of these objectives reports, in the order in which the executor writes it: "loss", the run's; where
/// there are several objectives, "loss.<name>" of each, without its weight; then their scalars.
std::vector<StepValue> step_values(std::span<const ObjectiveSpec> objectives);

}  // namespace triptych::execution
