#include <numbers>

#include "kernels/attention.h"
#include "kernels/cpu/attention_tiles.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_backward.cpp"
#include "kernels/cpu/attention_simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

/// What the head after this one reads and writes.
struct UpcomingBackward {
  UpcomingBackward(const AttentionBackward& call, int64_t index)
      : q(call.q, call.q_strides, call.shape, index, call.shape.num_queries),
        k(call.k, call.k_strides, call.shape, index, call.shape.num_keys),
        v(call.v, call.v_strides, call.shape, index, call.shape.num_keys),
        o(call.o, call.o_strides, call.shape, index, call.shape.num_queries),
        d_o(call.d_o, call.d_o_strides, call.shape, index, call.shape.num_queries),
        dq(call.dq, call.dq_strides, call.shape, index, call.shape.num_queries),
        dk(call.dk, call.dk_strides, call.shape, index, call.shape.num_keys),
        dv(call.dv, call.dv_strides, call.shape, index, call.shape.num_keys) {}
  UpcomingHead q, k, v, o, d_o, dq, dk, dv;
};

/// One block of queries against one tile of keys.
struct BackwardTile {
  int64_t query, rows;  ///< first query and their number
  int64_t key, width;   ///< first key and how many of the tile the block's last query sees
};

/// p = 2^(factor * score - lse) and ds = p * (dp - delta), in place of the scores and of dp = dO V^T.
HWY_INLINE void softmax_backward(const BackwardTile& tile, const AttentionTiling& tiling, const VisibleKeys& visible,
                                 float factor, const AttentionBackwardScratch& s) {
  const Vec scale = hn::Set(kFloats, factor);
  for (int64_t i = 0; i < tile.rows; ++i) {
    const int64_t count = std::clamp<int64_t>(visible(tile.query + i) - tile.key, 0, tile.width);
    const Vec lse = hn::Set(kFloats, s.lse[tile.query + i]);
    const Vec delta = hn::Set(kFloats, s.delta[tile.query + i]);
    float* const p = s.p + i * tiling.score_stride;
    float* const ds = s.ds + i * tiling.score_stride;
    replace_visible(p, count, tiling.key_tile,
                    [&](int64_t x) HWY_ATTR { return exp2(hn::MulSub(load(p + x), scale, lse)); });
    replace_visible(ds, count, tiling.key_tile,
                    [&](int64_t x) HWY_ATTR { return hn::Mul(load(p + x), hn::Sub(load(ds + x), delta)); });
  }
}

/// The five products of one tile: scores and dp; then dv += P^T dO, dk += dS^T Q, dq += dS K. `upcoming` may be null.
HWY_INLINE void backward_tile(const BackwardTile& tile, const AttentionTiling& tiling, const VisibleKeys& visible,
                              float factor, const UpcomingBackward* upcoming, const AttentionBackwardScratch& s) {
  const int64_t dim = tiling.padded_dim, stride = tiling.score_stride;
  float* const q = s.q + tile.query * dim;
  float* const d_o = s.d_o + tile.query * dim;
  const auto keys_of = [&](int64_t i, int64_t m) {
    return std::clamp<int64_t>(visible(tile.query + i + m - 1) - tile.key, 0, tile.width);
  };
  for (int64_t i = 0; i < tile.rows; i += kMicroRows) {
    const int64_t m = std::min<int64_t>(kMicroRows, tile.rows - i);
    if (upcoming != nullptr) {
      upcoming->q.prefetch(i, m);
      upcoming->k.prefetch(i, m);
      upcoming->v.prefetch(i, m);
    }
    micro_rows(m, keys_of(i, m), tiling.head_dim, {q + i * dim, dim, 1}, {s.k_transposed, tiling.key_tile},
               {s.p + i * stride, stride}, false);
  }
  for (int64_t i = 0; i < tile.rows; i += kMicroRows) {
    const int64_t m = std::min<int64_t>(kMicroRows, tile.rows - i);
    if (upcoming != nullptr) {
      upcoming->o.prefetch(i, m);
      upcoming->d_o.prefetch(i, m);
    }
    micro_rows(m, keys_of(i, m), tiling.head_dim, {d_o + i * dim, dim, 1}, {s.v_transposed, tiling.key_tile},
               {s.ds + i * stride, stride}, false);
  }
  softmax_backward(tile, tiling, visible, factor, s);
  // Queries before the first that sees the key have zeros in its column.
  const auto first_row = [&](int64_t j) {
    return std::clamp<int64_t>(visible.first_query(tile.key + j) - tile.query, 0, tile.rows);
  };
  for (int64_t j = 0; j < tile.width; j += kMicroRows) {
    const int64_t m = std::min<int64_t>(kMicroRows, tile.width - j), row = first_row(j);
    if (upcoming != nullptr) upcoming->dv.prefetch<true>(j, m);
    micro_rows(m, dim, tile.rows - row, {s.p + row * stride + j, 1, stride}, {d_o + row * dim, dim},
               {s.dv + j * dim, dim}, true);
  }
  for (int64_t j = 0; j < tile.width; j += kMicroRows) {
    const int64_t m = std::min<int64_t>(kMicroRows, tile.width - j), row = first_row(j);
    if (upcoming != nullptr) upcoming->dk.prefetch<true>(j, m);
    micro_rows(m, dim, tile.rows - row, {s.ds + row * stride + j, 1, stride}, {q + row * dim, dim},
               {s.dk + j * dim, dim}, true);
  }
  for (int64_t i = 0; i < tile.rows; i += kMicroRows) {
    const int64_t m = std::min<int64_t>(kMicroRows, tile.rows - i);
    if (upcoming != nullptr) upcoming->dq.prefetch<true>(i, m);
    micro_rows(m, dim, keys_of(i, m), {s.ds + i * stride, stride, 1}, {s.k, dim}, {s.dq + (tile.query + i) * dim, dim},
               true);
  }
}

/// Packs q and dO, and computes delta = rowsum(dO * o).
template <typename T>
HWY_INLINE void prepare_queries(const AttentionBackward& call, const AttentionTiling& tiling, int64_t sample,
                                int64_t head, const AttentionBackwardScratch& s) {
  const AttentionShape& shape = call.shape;
  const T* const q = static_cast<const T*>(call.q) + sample * call.q_strides.batch + head * call.q_strides.head;
  const T* const o = static_cast<const T*>(call.o) + sample * call.o_strides.batch + head * call.o_strides.head;
  const T* const d_o = static_cast<const T*>(call.d_o) + sample * call.d_o_strides.batch + head * call.d_o_strides.head;
  pack_tokens(q, call.q_strides.token, shape.num_queries, tiling, s.q);
  pack_tokens(d_o, call.d_o_strides.token, shape.num_queries, tiling, s.d_o);
  const float* const lse = call.lse + (sample * shape.num_heads + head) * shape.num_queries;
  for (int64_t i = 0; i < shape.num_queries; ++i) {
    s.lse[i] = lse[i] * std::numbers::log2e_v<float>;
    s.delta[i] = sum_vectors(tiling.head_dim, [&](int64_t x, auto part) HWY_ATTR {
      return hn::Mul(load(s.d_o + i * tiling.padded_dim + x), load(o + i * call.o_strides.token + x, part));
    });
  }
  std::fill(s.dq, s.dq + shape.num_queries * tiling.padded_dim, 0.0f);
}

template <typename T>
HWY_INLINE void backward_head(const AttentionBackward& call, const AttentionTiling& tiling, int64_t index,
                              int64_t upcoming_index, const AttentionBackwardScratch& s) {
  const AttentionShape& shape = call.shape;
  const int64_t sample = index / shape.num_heads, head = index % shape.num_heads;
  const UpcomingBackward upcoming(call, upcoming_index);
  const int64_t dim = tiling.padded_dim;
  const VisibleKeys visible(shape, sample);
  const auto input = [&](const void* base, const AttentionStrides& strides, int64_t token) {
    return static_cast<const T*>(base) + sample * strides.batch + head * strides.head + token * strides.token;
  };
  const auto assign = [&](const float* from, float factor, int64_t num_tokens, void* base,
                          const AttentionStrides& strides, int64_t token) HWY_ATTR {
    T* const to = static_cast<T*>(base) + sample * strides.batch + head * strides.head + token * strides.token;
    for (int64_t i = 0; i < num_tokens; ++i)
      store_token(from + i * dim, factor, shape.head_dim, to + i * strides.token);
  };
  const float factor = shape.scale * std::numbers::log2e_v<float>;
  const int64_t num_visible = shape.num_queries > 0 ? visible(shape.num_queries - 1) : 0;

  prepare_queries<T>(call, tiling, sample, head, s);
  for (int64_t key = 0; key < shape.num_keys; key += tiling.key_tile) {
    const int64_t keys = std::min(tiling.key_tile, shape.num_keys - key);
    std::fill(s.dk, s.dk + keys * dim, 0.0f);
    std::fill(s.dv, s.dv + keys * dim, 0.0f);
    if (key < num_visible) {
      pack_transposed(input(call.k, call.k_strides, key), call.k_strides.token, keys, tiling, s.k, s.k_transposed);
      pack_transposed(input(call.v, call.v_strides, key), call.v_strides.token, keys, tiling, s.v, s.v_transposed);
    }
    for (int64_t query = 0; query < shape.num_queries; query += tiling.query_block) {
      const int64_t rows = std::min(tiling.query_block, shape.num_queries - query);
      const int64_t width = std::min(keys, visible(query + rows - 1) - key);
      const bool first = query == 0 && key == 0;
      if (width > 0) {
        backward_tile({query, rows, key, width}, tiling, visible, factor, first ? &upcoming : nullptr, s);
      }
    }
    assign(s.dk, shape.scale, keys, call.dk, call.dk_strides, key);
    assign(s.dv, 1.0f, keys, call.dv, call.dv_strides, key);
  }
  assign(s.dq, shape.scale, shape.num_queries, call.dq, call.dq_strides, 0);
}

/// The heads [begin, end) of the B*N.
void attention_backward_heads(const AttentionBackward& call, int64_t begin, int64_t end, float* memory) {
  const AttentionTiling tiling(call.shape);
  const AttentionBackwardScratch scratch(call.shape, tiling, memory);
  with_float_type(call.shape.dtype, [&](auto type) HWY_ATTR {
    for (int64_t at = begin; at < end; ++at) {
      backward_head<decltype(type)>(call, tiling, at, std::min(at + 1, end - 1), scratch);
    }
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(attention_backward_heads);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

void attention_backward(Stream& stream, const AttentionBackward& call) {
  using namespace cpu;  // the names that HWY_DYNAMIC_DISPATCH makes
  check_attention(call.shape);
  const int64_t num_floats = AttentionBackwardScratch(call.shape, AttentionTiling(call.shape), nullptr).num_floats;
  parallel_with_scratch(stream, call.shape.batch * call.shape.num_heads, num_floats,
                        [&](int64_t begin, int64_t end, float* scratch) {
                          HWY_DYNAMIC_DISPATCH(attention_backward_heads)(call, begin, end, scratch);
                        });
}

}  // namespace triptych::kernels
#endif  // HWY_ONCE
