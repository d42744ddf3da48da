#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// y[b] = x[b, index[b] + offset] for x [B, S, H], index int32 [B]; undefined: x[b, offset]. Gives [B, H]. No axis
/// may shard S. With index = lengths and offset = -1, the last token.
Variable select_token(const Variable& x, const Tensor& index, int32_t offset = 0);

/// y[b] = mean of x[b, s] over s, for x [B, S, H]. Gives [B, H]. No axis may shard S.
Variable mean_tokens(const Variable& x);

/// y = x / max(|x|, 1e-12) row by row, float32, for x [B, E] of any dtype. No axis may shard E.
Variable l2_normalize(const Variable& x);

}  // namespace triptych::ops
