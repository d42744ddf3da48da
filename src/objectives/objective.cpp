#include "objectives/objective.h"

#include <algorithm>

namespace triptych::objectives {

void Objective::count_terms(const Fields&, Stream&, double*) const {
  throw InternalError("objective", "a loss must count its terms");
}

void Objective::write_scalars(Stream&, double*) const {}

LossCoupling coupling_of(std::span<const ObjectiveSpec> objectives) {
  const bool coupled = std::any_of(objectives.begin(), objectives.end(), [](const ObjectiveSpec& objective) {
    return objective.coupling == LossCoupling::kCoupled;
  });
  return coupled ? LossCoupling::kCoupled : LossCoupling::kSplit;
}

}  // namespace triptych::objectives
