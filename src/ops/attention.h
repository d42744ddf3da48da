#pragma once

#include "autograd/variable.h"

namespace triptych {

struct AttentionMask {
  bool causal = false;
  Tensor lengths;  ///< int32 [B]: keys at or beyond are masked; undefined if all count
};

/// Scaled dot-product self-attention over the heads that this rank holds.
///
///   qkv [B, S, 3, H]   queries, keys, values side by side; H = heads * head_dim, Shard(3) on `tp` splits the heads
///   num_heads          of the whole tensor; must divide H and be divisible by `tp`
///   returns o [B, S, H], Shard(2) on `tp` if qkv is sharded; rows with no key left are zero
///
/// Backward: recomputes the probabilities from the saved row log-sum-exp, so keeps B*N*S floats, not B*N*S*S.
/// Cost: 4*B*S*S*H FLOPs forward (half if causal), 2.5 times that backward. Local: never communicates.
/// Source: Dao 2023, FlashAttention-2.
Variable attention(const Variable& qkv, int64_t num_heads, const AttentionMask& mask);

}  // namespace triptych
