#pragma once

#include <vector>

#include "autograd/variable.h"

namespace triptych::ops {

/// The sum of x over `dims`, which y lacks; of x's dtype, summed in float32 and rounded once.
///
/// Layouts: y is Partial on an axis that shards one of `dims`, and where x is; else as x.
/// Backward: keeps nothing. Local: never communicates.
Variable sum(const Variable& x, const std::vector<int>& dims);

/// The same, divided by the number of elements of `dims` over all ranks.
Variable mean(const Variable& x, const std::vector<int>& dims);

}  // namespace triptych::ops
