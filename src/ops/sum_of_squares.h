#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// The sum of the squares of all elements of x.
///
///   x [...]   float32, complete; any dims may be sharded
///   returns   float64 [1] on the device, summed in double: Partial on the axes that shard x, else Replicate
///
/// Backward: keeps x. Local: never communicates. Throws LayoutError if x is Partial.
Variable sum_of_squares(const Variable& x);

}  // namespace triptych::ops
