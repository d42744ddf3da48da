#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

/// Elements from one sample, token or head of a [B, S, N, D] array to the next; the last dim is contiguous. A packed
/// qkv of shape [B, S, 3, N, D] is read (and its gradient written) in place: {S*3*N*D, 3*N*D, D}, with bases N*D apart.
struct AttentionStrides {
  int64_t batch = 0;
  int64_t token = 0;
  int64_t head = 0;
};

/// What forward and backward agree on: scores = scale * q k^T, and probabilities = their softmax over the keys that a
/// query may see.
struct AttentionShape {
  int64_t batch = 0;        ///< B
  int64_t num_heads = 0;    ///< N
  int64_t num_queries = 0;  ///< S
  int64_t num_keys = 0;     ///< T
  int64_t head_dim = 0;     ///< D, 1 to max_attention_head_dim()
  float scale = 1.0f;       ///< usually 1 / sqrt(D)
  bool causal = false;      ///< query i sees keys j <= i + T - S
  /// [B], or null for all: sample b's keys are the first key_lengths[b] - first_key of T (clamped to 0..T).
  const int32_t* key_lengths = nullptr;
  int64_t first_key = 0;  ///< where these T keys begin in the sequence that the lengths are of
  /// Of q, k, v, o and their gradients: float32, bfloat16 or (on a GPU) float16. Sums and the softmax are float32; on a
  /// GPU the products' inputs are of `dtype`, the probabilities too.
  DType dtype = DType::kFloat32;
};

/// The widest head that the backend takes: 256 on the CPU, 128 under CUDA.
int64_t max_attention_head_dim();

struct AttentionForward {
  AttentionShape shape;
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  AttentionStrides q_strides, k_strides, v_strides;
  void* o = nullptr;  ///< assigned; must not overlap the inputs
  AttentionStrides o_strides;
  float* lse = nullptr;  ///< [B, N, S], packed: the natural logarithm of the sum of exp(scores); may be null
};

struct AttentionBackward {
  AttentionShape shape;
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  AttentionStrides q_strides, k_strides, v_strides;
  const void* o = nullptr;  ///< as forward left it
  AttentionStrides o_strides;
  const void* d_o = nullptr;
  AttentionStrides d_o_strides;
  const float* lse = nullptr;  ///< as forward left it
  void* dq = nullptr;          ///< dq, dk, dv are assigned, every element of them; must not overlap the inputs
  void* dk = nullptr;
  void* dv = nullptr;
  AttentionStrides dq_strides, dk_strides, dv_strides;
};

/// Scaled dot-product attention. A query with no key left gives o = 0 and lse = -infinity, and its gradients are 0.
/// Scores exist only in tiles that stay in cache (or in registers); tiles that the mask empties are skipped. Uses the
/// stream's scratch; each element's result depends neither on the number of threads nor on B and N.
///
/// Cost: 4*B*N*S*T*D FLOPs.
/// Throws InternalError for a head_dim out of range or another dtype.
/// Source: Dao 2023, FlashAttention-2, algorithms 1 and 2.
void attention_forward(Stream& stream, const AttentionForward& call);

/// Recomputes the probabilities from lse. Cost: 10*B*N*S*T*D FLOPs.
///
/// Where the call's keys are some of those that the queries attended to, and o and lse are of all of them: dk and dv
/// are those keys' whole gradients from these queries, and dq is their summand of it.
void attention_backward(Stream& stream, const AttentionBackward& call);

/// The attention over some keys, joined with the attention of the same queries over others.
struct AttentionMerge {
  int64_t batch = 0;                  ///< B
  int64_t num_heads = 0;              ///< N
  int64_t num_queries = 0;            ///< S
  int64_t head_dim = 0;               ///< D
  const void* o = nullptr;            ///< [B, S, N, D], packed: as attention_forward left it for some keys
  const float* lse = nullptr;         ///< [B, N, S], packed; as all of these
  DType dtype = DType::kFloat32;      ///< of o
  float* merged = nullptr;            ///< [B, S, N, D], packed: for the keys before; becomes that for all
  const float* lse_before = nullptr;  ///< of merged
  float* merged_lse = nullptr;        ///< assigned; must not overlap the others
};

/// Before the first keys, merged may be anything finite, with lse_before = -infinity. A query without a key in either
/// gives 0 and -infinity.
/// Source: Milakov and Gimelshein 2018, Online normalizer calculation for softmax; Liu et al. 2023, Ring Attention.
void attention_merge(Stream& stream, const AttentionMerge& call);

}  // namespace triptych::kernels
