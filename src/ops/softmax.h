#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// y = exp(x) / (the sum over the last dim of exp(x)), for x [..., V] with V whole; other dims may be sharded. A logit
/// of -inf has the probability 0.
///
/// Backward: keeps y. Local: never communicates. Throws LayoutError if an axis shards V or x is Partial.
Variable softmax(const Variable& x);

/// y = x - log(the sum over the last dim of exp(x)); else as `softmax`.
Variable log_softmax(const Variable& x);

}  // namespace triptych::ops
