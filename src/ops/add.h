#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// y = a + b.
///
///   a [F..., T...]   float32 or bfloat16
///   b [T...]         the same in every F, as a bias or positions; rounded to a's dtype, which is y's
///
/// Layouts: each dim alike in both. Of equal shapes, both may be Partial on an axis, and then y is.
/// Backward: keeps nothing. b's gradient is summed over F in float32, Partial on the axes that shard F.
/// Local: never communicates.
/// Throws LayoutError if a is Partial and b is broadcast: b would count on every rank.
Variable add(const Variable& a, const Variable& b);

}  // namespace triptych::ops
