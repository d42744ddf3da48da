#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// y = a * b, element by element.
///
///   a [F..., T...]   float32 or bfloat16
///   b [T...]         the same in every F, as a scale; rounded to a's dtype, which is y's
///
/// Layouts: each dim alike in both, none Partial.
/// Backward: keeps both. b's gradient is summed over F in float32, Partial on the axes that shard F.
/// Local: never communicates. Throws LayoutError for other layouts.
Variable multiply(const Variable& a, const Variable& b);

}  // namespace triptych::ops
