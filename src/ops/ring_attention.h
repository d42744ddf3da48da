#pragma once

#include <vector>

#include "autograd/variable.h"
#include "ops/attention.h"

namespace triptych::ops {

/// The attention of a sequence that is shared out over `cp`: keys and values travel round the ring of its ranks, one
/// rank's at a time, and each rank computes the attention of its own queries over those that it has just got, while the
/// next ones are on their way.
///
///   qkv [B, S, 3, H]   as of self_attention; Shard(1) on `cp`, which alone splits the sequence; heads as there
///   returns o [B, S, H], laid out as the queries; each row as the same operation gives it for the whole sequence, but
///                      for the order of sums, which are float32
///
/// With a causal mask each rank computes the attention of another half of its tokens, so that all have as much to do
/// with each rank's keys: rank r that of the r-th half and of the r-th from the end.
///
/// Backward: they go round once more, and their gradients with them, in float32. Keeps this rank's queries, keys and
/// values, its output (with a causal mask twice) and B*N*S/cp floats; at any time two ranks' keys and values are here.
/// Cost: of cp ranks, each computes 1/cp of the FLOPs and sends (cp - 1)/cp * 2*B*T*H elements forward and the same and
/// 2*B*T*H floats backward; with a causal mask up to 4*B*S/cp*H elements more, forward and backward each.
/// Collective over `cp`, whose links `ring_links` names. Throws LayoutError for other layouts.
/// Source: Liu et al. 2023, Ring Attention with Blockwise Transformers, algorithm 1.
Variable ring_self_attention(const Variable& qkv, int64_t num_heads, const AttentionMask& mask, Mesh& mesh);

/// The same of q [B, S, H] and kv [B, T, 2, H], both Shard(1) on `cp`. A causal mask needs S = T. Keys and values may
/// have fewer heads, each for as many of the queries' that follow each other (Ainslie et al. 2023, GQA): these travel.
Variable ring_cross_attention(const Variable& q, const Variable& kv, int64_t num_heads, const AttentionMask& mask,
                              Mesh& mesh);

/// The messages of these operations, which Group::open_links of the group of `cp` makes ready.
std::vector<Link> ring_links(int size);

}  // namespace triptych::ops
