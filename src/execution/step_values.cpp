#include "execution/step_values.h"

namespace triptych::execution {

std::vector<StepValue> step_values(std::span<const ObjectiveSpec> objectives) {
  std::vector<StepValue> values{{"loss", nullptr}};
  if (objectives.size() > 1) {
    for (const ObjectiveSpec& objective : objectives) values.push_back({"loss." + objective.name, nullptr});
  }
  for (const ObjectiveSpec& objective : objectives) {
    for (const ScalarSpec& scalar : objective.scalars) values.push_back({scalar.name, scalar.shown});
  }
  return values;
}

}  // namespace triptych::execution
