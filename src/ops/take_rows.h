#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// y[b] = x[sources[b]]: for each sample one of the samples that this rank holds.
///
///   x [B, ...]   float32 or bfloat16, dims sharded in any way
///   sources      int32 [local B], numbers among this rank's rows
///   returns      y, laid out as x
///
/// Backward: keeps the sources; gradients of a row that was taken several times are summed. Local: never communicates.
/// Throws LayoutError if x is Partial; InternalError, on the CPU, for a number that is not a row's.
Variable take_rows(const Variable& x, const Tensor& sources);

}  // namespace triptych::ops
