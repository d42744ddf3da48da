#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/attention.h"
#include "kernels/cpu/attention_tiles.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_forward.cpp"
#include "kernels/cpu/attention_simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

/// One query's online softmax, in powers of two.
struct OnlineSoftmax {
  float maximum = -std::numeric_limits<float>::infinity();  ///< of factor * score
  float sum = 0.0f;

  /// Replaces the first `count` > 0 of a tile's scores by 2^(factor * score - maximum), the others up to `width` by
  /// zeros. Returns what the sums over earlier tiles are to be multiplied with.
  HWY_INLINE float add_tile(float* scores, int64_t count, int64_t width, float factor) {
    const Vec scale = hn::Set(kFloats, factor);
    Vec largest = hn::Set(kFloats, maximum);
    int64_t x = 0;
    for (; x + kMaxLanes <= count; x += kMaxLanes) largest = hn::Max(largest, hn::Mul(load(scores + x), scale));
    if (x < count) {
      const auto rest = hn::FirstN(kFloats, static_cast<std::size_t>(count - x));
      largest = hn::Max(largest, hn::IfThenElse(rest, hn::Mul(load(scores + x), scale), largest));
    }
    const float before = maximum;
    maximum = hn::GetLane(hn::MaxOfLanes(kFloats, largest));
    const Vec origin = hn::Set(kFloats, maximum);
    const Vec total = replace_visible(
        scores, count, width, [&](int64_t at) HWY_ATTR { return exp2(hn::MulSub(load(scores + at), scale, origin)); });
    const float shrink = sum == 0.0f ? 0.0f : std::exp2(before - maximum);
    sum = sum * shrink + sum_lanes(total);
    return shrink;
  }
};

/// `upcoming` is the head after this one, or this one.
template <typename T>
HWY_INLINE void forward_head(const AttentionForward& call, const AttentionTiling& tiling, int64_t index,
                             int64_t upcoming, const AttentionForwardScratch& scratch) {
  const AttentionShape& shape = call.shape;
  const int64_t sample = index / shape.num_heads, head = index % shape.num_heads;
  const UpcomingHead upcoming_q(call.q, call.q_strides, shape, upcoming, shape.num_queries);
  const UpcomingHead upcoming_k(call.k, call.k_strides, shape, upcoming, shape.num_keys);
  const UpcomingHead upcoming_v(call.v, call.v_strides, shape, upcoming, shape.num_keys);
  const UpcomingHead upcoming_o(call.o, call.o_strides, shape, upcoming, shape.num_queries);
  const int64_t dim = tiling.padded_dim, stride = tiling.score_stride;
  const VisibleKeys visible(shape, sample);
  const auto begin_of = [&](const void* base, const AttentionStrides& strides) {
    return static_cast<const T*>(base) + sample * strides.batch + head * strides.head;
  };
  const T* const q = begin_of(call.q, call.q_strides);
  T* const o = static_cast<T*>(call.o) + sample * call.o_strides.batch + head * call.o_strides.head;

  const int64_t num_keys = shape.num_queries > 0 ? visible(shape.num_queries - 1) : 0;
  for (int64_t key = 0; key < num_keys; key += tiling.key_tile) {
    const int64_t keys = std::min(tiling.key_tile, num_keys - key);
    pack_transposed(begin_of(call.k, call.k_strides) + key * call.k_strides.token, call.k_strides.token, keys, tiling,
                    scratch.packed, scratch.k_transposed + key * dim);
  }
  pack_tokens(begin_of(call.v, call.v_strides), call.v_strides.token, num_keys, tiling, scratch.v);

  OnlineSoftmax softmax[kMaxQueryBlock];
  for (int64_t query = 0; query < shape.num_queries; query += tiling.query_block) {
    const int64_t rows = std::min(tiling.query_block, shape.num_queries - query);
    const int64_t block_keys = visible(query + rows - 1);
    pack_tokens(q + query * call.q_strides.token, call.q_strides.token, rows, tiling, scratch.q);
    std::fill(softmax, softmax + rows, OnlineSoftmax());
    std::fill(scratch.o, scratch.o + rows * dim, 0.0f);

    for (int64_t key = 0; key < block_keys; key += tiling.key_tile) {
      // Keys of this tile that the rows [i, i + m) of the micro-kernel see; rows that see none are passed over.
      const auto keys_of = [&](int64_t i, int64_t m) {
        return std::min(tiling.key_tile, visible(query + i + m - 1) - key);
      };
      for (int64_t i = 0; i < rows; i += kMicroRows) {
        const int64_t m = std::min<int64_t>(kMicroRows, rows - i);
        const int64_t keys = keys_of(i, m);
        if (query == 0 && key == 0) {
          upcoming_q.prefetch(i, m);
          upcoming_k.prefetch(i, m);
          upcoming_v.prefetch(i, m);
          upcoming_o.prefetch<true>(i, m);
        }
        if (keys <= 0) continue;
        micro_rows(m, keys, tiling.head_dim, {scratch.q + i * dim, dim, 1},
                   {scratch.k_transposed + key * dim, tiling.key_tile}, {scratch.scores + i * stride, stride}, false);
      }
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t count = std::min(tiling.key_tile, visible(query + i) - key);
        float* const scores = scratch.scores + i * stride;
        if (count <= 0) {
          std::fill(scores, scores + tiling.key_tile, 0.0f);
          continue;
        }
        const float shrink =
            softmax[i].add_tile(scores, count, tiling.key_tile, shape.scale * std::numbers::log2e_v<float>);
        if (key > 0) store_token(scratch.o + i * dim, shrink, dim, scratch.o + i * dim);
      }
      for (int64_t i = 0; i < rows; i += kMicroRows) {
        const int64_t m = std::min<int64_t>(kMicroRows, rows - i);
        micro_rows(m, dim, std::max<int64_t>(0, keys_of(i, m)), {scratch.scores + i * stride, stride, 1},
                   {scratch.v + key * dim, dim}, {scratch.o + i * dim, dim}, true);
      }
    }

    for (int64_t i = 0; i < rows; ++i) {
      const bool sees_any = visible(query + i) > 0;
      store_token(scratch.o + i * dim, sees_any ? 1.0f / softmax[i].sum : 0.0f, shape.head_dim,
                  o + (query + i) * call.o_strides.token);
      if (call.lse != nullptr) {
        const int64_t at = (sample * shape.num_heads + head) * shape.num_queries + query + i;
        call.lse[at] = sees_any ? (softmax[i].maximum + std::log2(softmax[i].sum)) * std::numbers::ln2_v<float>
                                : -std::numeric_limits<float>::infinity();
      }
    }
  }
}

/// The heads [begin, end) of the B*N.
void attention_forward_heads(const AttentionForward& call, int64_t begin, int64_t end, float* memory) {
  const AttentionTiling tiling(call.shape);
  const AttentionForwardScratch scratch(call.shape, tiling, memory);
  with_float_type(call.shape.dtype, [&](auto type) HWY_ATTR {
    for (int64_t at = begin; at < end; ++at) {
      forward_head<decltype(type)>(call, tiling, at, std::min(at + 1, end - 1), scratch);
    }
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(attention_forward_heads);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

int64_t max_attention_head_dim() {
  return cpu::kMaxAttentionHeadDim;
}

void attention_forward(Stream& stream, const AttentionForward& call) {
  using namespace cpu;  // the names that HWY_DYNAMIC_DISPATCH makes
  check_attention(call.shape);
  const int64_t num_floats = AttentionForwardScratch(call.shape, AttentionTiling(call.shape), nullptr).num_floats;
  parallel_with_scratch(stream, call.shape.batch * call.shape.num_heads, num_floats,
                        [&](int64_t begin, int64_t end, float* scratch) {
                          HWY_DYNAMIC_DISPATCH(attention_forward_heads)(call, begin, end, scratch);
                        });
}

}  // namespace triptych::kernels
#endif  // HWY_ONCE
