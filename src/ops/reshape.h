#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// x's elements, in their order, as a tensor of the global shape `shape`; shares x's memory where that is contiguous.
///
/// Layouts: a dim that an axis shards must survive: `shape` has one of its size behind as many elements. So dims that
/// are whole may be split and merged around it. Partial where x is.
/// Backward: keeps nothing. Local: never communicates.
/// Throws LayoutError, naming the axis, if it shards a dim that is split or merged.
Variable reshape(const Variable& x, const Shape& shape);

}  // namespace triptych::ops
