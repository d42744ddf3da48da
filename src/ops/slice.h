#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// Indices [begin, begin + length) of `dim` of x, in contiguous memory: a copy unless they lie so in x.
///
/// Layouts: that dim whole, others as they are; y as x, Partial where x is.
/// Backward: keeps nothing; the gradient of the other indices is zero. Local: never communicates.
/// Throws LayoutError if an axis shards `dim`.
Variable slice(const Variable& x, int dim, int64_t begin, int64_t length);

}  // namespace triptych::ops
