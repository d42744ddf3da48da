#pragma once

#include <vector>

#include "autograd/variable.h"

namespace triptych::ops {

/// The sum of losses, float64 [1] each.
///
/// Layouts: all alike, the sum's too; Partial where they are. Backward: keeps nothing. Local: never communicates.
/// Throws LayoutError if the layouts differ.
Variable sum_of_losses(const std::vector<Variable>& losses);

}  // namespace triptych::ops
