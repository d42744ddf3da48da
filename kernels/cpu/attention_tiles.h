#pragma once

#include <algorithm>
#include <cstdint>

#include "base/checked.h"
#include "base/error.h"
#include "device/stream.h"
#include "kernels/attention.h"

namespace triptych::kernels::cpu {

inline constexpr int64_t kMaxAttentionHeadDim = 256;

/// Rows of packed floats are padded with zeros to a multiple of this: the widest vector, and a cache line.
inline constexpr int64_t kAttentionPadding = 16;

/// A tile of keys (at D = 64, 24 KiB of K^T) stays in the first-level cache while the rows of a block of queries pass;
/// the block's scores (42 KiB) stay in the second level.
inline constexpr int64_t kMaxKeyTile = 96;
inline constexpr int64_t kMaxQueryBlock = 96;
inline constexpr int64_t kAttentionRows = 6;  ///< rows that go through the micro-kernel at once

/// The sizes of the tiles: as equal as they can be, so that 130 keys are two tiles of 80 rather than 96 and 34.
struct AttentionTiling {
  int64_t head_dim, padded_dim;
  int64_t key_tile;      ///< multiple of kAttentionPadding
  int64_t query_block;   ///< multiple of kAttentionRows
  int64_t score_stride;  ///< from one query's scores to the next's: an odd number of cache lines, to use all cache sets

  explicit AttentionTiling(const AttentionShape& shape)
      : head_dim(shape.head_dim),
        padded_dim(round_up(shape.head_dim, kAttentionPadding)),
        key_tile(even_tile(shape.num_keys, kMaxKeyTile, kAttentionPadding)),
        query_block(even_tile(shape.num_queries, kMaxQueryBlock, kAttentionRows)),
        score_stride((key_tile / kAttentionPadding | 1) * kAttentionPadding) {}

 private:
  static int64_t even_tile(int64_t count, int64_t max_tile, int64_t multiple) {
    const int64_t num_tiles = std::max<int64_t>(1, ceil_div(count, max_tile));
    return round_up(std::max<int64_t>(1, ceil_div(count, num_tiles)), multiple);
  }
};

/// The keys that a query may see are always the first so many: the mask of one sample.
class VisibleKeys {
 public:
  VisibleKeys(const AttentionShape& shape, int64_t sample)
      : causal_(shape.causal), offset_(shape.num_keys - shape.num_queries), length_(shape.num_keys) {
    if (shape.key_lengths != nullptr) {
      length_ = std::clamp<int64_t>(shape.key_lengths[sample] - shape.first_key, 0, shape.num_keys);
    }
  }
  /// Never decreases with the query.
  int64_t operator()(int64_t query) const {
    return causal_ ? std::clamp<int64_t>(query + 1 + offset_, 0, length_) : length_;
  }
  /// The first query that sees a key which some query sees.
  int64_t first_query(int64_t key) const { return causal_ ? std::max<int64_t>(0, key - offset_) : 0; }

 private:
  bool causal_;
  int64_t offset_;
  int64_t length_;
};

/// Cuts one thread's scratch memory into arrays that begin at cache lines; without memory it only counts.
class ScratchCutter {
 public:
  explicit ScratchCutter(float* memory) : memory_(memory) {}
  float* take(int64_t count) {
    float* const begin = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += round_up(count, kAttentionPadding);
    return begin;
  }
  int64_t used() const { return used_; }

 private:
  float* memory_;
  int64_t used_ = 0;
};

/// What one thread holds of one head. Sizes: with `memory` null, only `num_floats` is meant.
struct AttentionForwardScratch {
  AttentionForwardScratch(const AttentionShape& shape, const AttentionTiling& tiling, float* memory) {
    ScratchCutter cutter(memory);
    const int64_t padded_keys = round_up(shape.num_keys, tiling.key_tile);
    packed = cutter.take(tiling.key_tile * tiling.padded_dim);
    k_transposed = cutter.take(padded_keys * tiling.padded_dim);
    v = cutter.take(padded_keys * tiling.padded_dim);
    q = cutter.take(tiling.query_block * tiling.padded_dim);
    scores = cutter.take(tiling.query_block * tiling.score_stride);
    o = cutter.take(tiling.query_block * tiling.padded_dim);
    num_floats = cutter.used();
  }
  float *packed, *k_transposed, *v, *q, *scores, *o;
  int64_t num_floats;
};

struct AttentionBackwardScratch {
  AttentionBackwardScratch(const AttentionShape& shape, const AttentionTiling& tiling, float* memory) {
    ScratchCutter cutter(memory);
    const int64_t tile_floats = tiling.key_tile * tiling.padded_dim;
    const int64_t query_floats = shape.num_queries * tiling.padded_dim;
    for (float** array : {&k, &k_transposed, &v, &v_transposed, &dk, &dv}) *array = cutter.take(tile_floats);
    for (float** array : {&q, &d_o, &dq}) *array = cutter.take(query_floats);
    for (float** array : {&p, &ds}) *array = cutter.take(tiling.query_block * tiling.score_stride);
    for (float** array : {&lse, &delta}) *array = cutter.take(shape.num_queries);
    num_floats = cutter.used();
  }
  float *k, *k_transposed, *v, *v_transposed, *dk, *dv;  ///< of a tile of keys
  float *q, *d_o, *dq;                                   ///< of all queries
  float *p, *ds;                                         ///< of a block of queries and a tile of keys
  float *lse, *delta;                                    ///< of each query; lse in powers of two
  int64_t num_floats;
};

/// The first tokens of a head of a [B, S, N, D] array, to be brought to the second-level cache while the head before it
/// is computed: the rows of a packed qkv are so far apart that the hardware does not foresee them.
class UpcomingHead {
 public:
  /// `index` counts the B*N heads; `num_tokens` is S or T.
  UpcomingHead(const void* base, const AttentionStrides& strides, const AttentionShape& shape, int64_t index,
               int64_t num_tokens)
      : token_bytes_(strides.token * element_bytes(shape)),
        head_bytes_(shape.head_dim * element_bytes(shape)),
        num_tokens_(num_tokens) {
    const int64_t offset = index / shape.num_heads * strides.batch + index % shape.num_heads * strides.head;
    begin_ = static_cast<const char*>(base) + offset * element_bytes(shape);
  }
  template <bool kForWriting = false>
  void prefetch(int64_t token, int64_t num_tokens) const {
    for (int64_t i = token; i < std::min(token + num_tokens, num_tokens_); ++i) {
      for (int64_t at = 0; at < head_bytes_; at += 64) {
        __builtin_prefetch(begin_ + i * token_bytes_ + at, kForWriting ? 1 : 0, 2);
      }
    }
  }

 private:
  static int64_t element_bytes(const AttentionShape& shape) { return static_cast<int64_t>(dtype_bytes(shape.dtype)); }
  const char* begin_;
  int64_t token_bytes_;
  int64_t head_bytes_;
  int64_t num_tokens_;
};

inline void check_attention(const AttentionShape& shape) {
  TRIPTYCH_CHECK(shape.head_dim >= 1 && shape.head_dim <= kMaxAttentionHeadDim, "head_dim {}, at most {}",
                 shape.head_dim, kMaxAttentionHeadDim);
  TRIPTYCH_CHECK(shape.batch >= 0 && shape.num_heads >= 0 && shape.num_queries >= 0 && shape.num_keys >= 0,
                 "batch {}, heads {}, queries {}, keys {}", shape.batch, shape.num_heads, shape.num_queries,
                 shape.num_keys);
  TRIPTYCH_CHECK(shape.dtype == DType::kFloat32 || shape.dtype == DType::kBFloat16,
                 "attention has no CPU implementation for {}", dtype_name(shape.dtype));
}

/// Calls f(begin, end, scratch) for pieces of [0, num_items), one a thread, each with `num_floats` of scratch.
template <typename F>
void parallel_with_scratch(Stream& stream, int64_t num_items, int64_t num_floats, const F& f) {
  const int64_t num_pieces = std::min<int64_t>(stream.num_threads(), num_items);
  if (num_pieces == 0) return;
  float* const scratch =
      reinterpret_cast<float*>(stream.scratch(static_cast<std::size_t>(num_pieces * num_floats) * sizeof(float)));
#pragma omp parallel for num_threads(static_cast <int>(num_pieces)) schedule(static, 1) if (num_pieces > 1)
  for (int64_t piece = 0; piece < num_pieces; ++piece) {
    f(num_items * piece / num_pieces, num_items * (piece + 1) / num_pieces, scratch + piece * num_floats);
  }
}

}  // namespace triptych::kernels::cpu
