#pragma once

#include <vector>

#include "autograd/variable.h"

namespace triptych::ops {

/// y's dim i is x's dim permutation[i], in contiguous memory: a copy. Dims stay sharded as they are, and Partial stays
/// so. Backward: keeps nothing. Local: never communicates.
Variable transpose(const Variable& x, const std::vector<int>& permutation);

}  // namespace triptych::ops
