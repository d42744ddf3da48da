#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// Rotary positions: the pairs (i, i + D/2) of every head's elements, turned by the angles of their token's position.
///
///   x [B, S, H], or [B, S, P, H]   heads of D columns, an axis may shard H by heads, another S
///   table                          float32 [S, D], of this rank's S: of each position the cosines of D/2 angles, then
///                                  their sines
///   rotated                        so many of the P arrays are turned, the first ones; the others stay
///   returns                        y, laid out as x
///
/// Backward: turns back; keeps the table alone. Local: never communicates.
/// Source: Su et al. 2021, RoFormer, with the pairs of GPT-NeoX and Llama; see kernels/rotary.h.
Variable rotary(const Variable& x, const Tensor& table, int64_t rotated = 1);

}  // namespace triptych::ops
