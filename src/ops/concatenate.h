#pragma once

#include <vector>

#include "autograd/variable.h"

namespace triptych::ops {

/// The tensors of `xs` one after the other along `dim`; their other dims, dtypes and layouts are alike.
///
/// Layouts: that dim whole, others as they are; Partial on an axis if all are.
/// Backward: keeps nothing. Local: never communicates.
/// Throws LayoutError if an axis shards `dim`, or if the layouts differ.
Variable concatenate(const std::vector<Variable>& xs, int dim);

}  // namespace triptych::ops
