#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// y[b, k] = x[b, index[b, k]], and zeros where index[b, k] is negative.
///
///   x [B, S, H]     S whole, B and H may be sharded
///   index [B, K]    int32, below S
///   returns y [B, K, H] of x's dtype
///
/// Backward: keeps the index; gradients of a token that was taken several times are summed. Local: never communicates.
/// Throws LayoutError by the rule "bs!h,bk->bkh"; InternalError, on the CPU, for an index that is not below S.
Variable gather(const Variable& x, const Variable& index);

}  // namespace triptych::ops
