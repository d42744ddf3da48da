#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// y[r] = x[r, index[r]] of every row r, and 0 where index[r] is negative.
///
///   x [..., V]     V whole, other dims may be sharded
///   index [...]    int32, below V
///   returns y [...] float32
///
/// Backward: keeps the index. Local: never communicates.
/// Throws LayoutError by the rule "...v!,...->..."; InternalError, on the CPU, for an index that is not below V.
Variable pick(const Variable& x, const Variable& index);

}  // namespace triptych::ops
