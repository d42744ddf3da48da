#pragma once

#include "kernels/strided.h"
#include "ops/index_rule.h"
#include "ops/views.h"

namespace triptych::ops {

// What `add` and `multiply` share: a [F..., T...] and b [T...], element by element.

/// linear   in both together, so that both may be Partial where no dim is broadcast
/// Throws LayoutError, naming the axis.
IndexRule::Applied trailing_rule(std::string_view name, const Variable& a, const Variable& b, bool linear);

using BinaryKernel = void (*)(Stream&, const BinaryStridedArgs&);
/// Of a's shape and dtype, which is b's too.
Tensor combine(BinaryKernel kernel, const Tensor& a, const Tensor& b);

/// Adds `summands` [F..., T...], summed over F, to the gradient of b [T...] of b_dtype, input 1.
void add_trailing_gradient(const Tensor& summands, int b_rank, DType b_dtype, const Layout& layout, InputGradients& in);

}  // namespace triptych::ops
