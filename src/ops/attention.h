#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

struct AttentionMask {
  bool causal = false;  ///< query i sees keys j <= i + T - S
  Tensor lengths;       ///< int32 [B]: keys at or beyond are masked; undefined if all count
};

/// Scaled dot-product attention over the heads that this rank holds.
///
///   q [B, S, H], k, v [B, T, H]   queries and keys/values; H = heads * head_dim, an axis may shard it by heads
///   num_heads                     of the whole tensor; must divide H and be divisible by the axis that shards it
///   returns o [B, S, H], laid out as q; rows with no key left are zero
///   again       backward runs the forward's kernel again rather than keep o and the log-sum-exp, for itself and for
///               operations that read o
///
/// Backward: recomputes the probabilities from the row log-sum-exp, so keeps q, k, v, o and B*N*S floats, not B*N*S*T;
/// with `again`, q, k and v alone.
/// Cost: 4*B*S*T*H FLOPs forward (half if causal), 2.5 times that backward, with `again` 3.5. Local: never
/// communicates.
/// Source: Dao 2023, FlashAttention-2.
Variable attention(const Variable& q, const Variable& k, const Variable& v, int64_t num_heads,
                   const AttentionMask& mask, bool again = false);

/// The same with queries, keys and values side by side in qkv [B, S, 3, H], as one projection makes them: nothing is
/// copied, and their gradients lie side by side too.
Variable self_attention(const Variable& qkv, int64_t num_heads, const AttentionMask& mask, bool again = false);

/// The same with keys and values side by side in kv [B, T, 2, H].
Variable cross_attention(const Variable& q, const Variable& kv, int64_t num_heads, const AttentionMask& mask,
                         bool again = false);

}  // namespace triptych::ops
