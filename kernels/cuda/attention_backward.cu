#include "kernels/attention.h"
#include "kernels/cuda/attention_math.cuh"
#include "kernels/cuda/attention_tiles.cuh"

// Three kernels, so that no sum needs atomics: delta of each query; dq, a block going over the keys of its queries; dk
// and dv, a block going over the queries of its keys, with the scores transposed: its rows are keys, its columns
// queries.

namespace triptych::kernels {
namespace {

using namespace cuda;

/// An AttentionBackward and the scratch memory.
struct Call {
  AttentionBackward backward;
  AttentionShape shape;
  float* delta;  ///< [B, N, S]: rowsum(dO * o)
};

/// The head that a block works on, in all arrays.
template <typename T>
struct HeadOfCall {
  __device__ HeadOfCall(const Call& call, const TileOfHead& tile, bool aligned_)
      : backward(call.backward),
        shape(call.shape),
        aligned(aligned_),
        sample(tile.sample),
        head(tile.head),
        visible(call.shape, tile.sample),
        lse(call.backward.lse + tile.index * call.shape.num_queries),
        delta(call.delta + tile.index * call.shape.num_queries),
        num_queries(static_cast<int>(call.shape.num_queries)),
        factor(call.shape.scale * kLog2E) {}

  __device__ HeadTokens<T> queries(const void* base, const AttentionStrides& strides) const {
    return HeadTokens<T>(base, strides, sample, head, shape.num_queries, shape, aligned);
  }
  __device__ HeadTokens<T> keys(const void* base, const AttentionStrides& strides) const {
    return HeadTokens<T>(base, strides, sample, head, shape.num_keys, shape, aligned);
  }

  const AttentionBackward& backward;
  const AttentionShape& shape;
  bool aligned;
  int64_t sample, head;
  VisibleKeys visible;
  const float *lse, *delta;
  int num_queries;
  float factor;
};

/// A block's rows of two arrays, and two tiles of their columns' two: while one is worked on, the other arrives.
template <typename Math>
struct BackwardMemory {
  static constexpr int kRowTile = Math::kRows * Math::kStride, kColTile = Math::kCols * Math::kStride;
  using T = typename Math::T;
  alignas(16) T rows[2 * kRowTile];
  alignas(16) T cols[4 * kColTile];
  alignas(16) float numbers[4 * Math::kCols];

  __device__ T* row_tile(int which) { return rows + which * kRowTile; }
  __device__ T* col_tile(int stage, int which) { return cols + (stage % 2 * 2 + which) * kColTile; }
  /// A number of each column.
  __device__ float* col_numbers(int stage, int which) { return numbers + (stage % 2 * 2 + which) * Math::kCols; }
};

/// Of one score: the probability, 2^(factor * score - lse), and its gradient before the scale; zeros if it is masked.
struct Probability {
  float p, ds;
};
__device__ inline Probability probability(bool seen, float score, float dp, float factor, float lse_log2, float delta) {
  if (!seen) return {0.0f, 0.0f};
  const float p = exp2f(__fmaf_rn(score, factor, -lse_log2));
  return {p, p * (dp - delta)};
}

/// delta = rowsum(dO * o), a group of lanes a query.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) sum_products(const __grid_constant__ Call call, bool aligned) {
  constexpr int kPiece = 16 / sizeof(T), kLanes = static_cast<int>(kMaxAttentionHeadDim) / kPiece;
  const AttentionBackward& b = call.backward;
  const AttentionShape& shape = call.shape;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t count = shape.batch * shape.num_heads * shape.num_queries;
  const int64_t group = grid_thread() / kLanes, num_groups = grid_threads() / kLanes;
  // All lanes of a warp stay together, for the sums.
  for (int64_t first = 0; first < count; first += num_groups) {
    const int64_t at = first + group;
    // The order of [B, S, N], in which neighbours lie together.
    const int64_t head = at % shape.num_heads, query = at / shape.num_heads % shape.num_queries;
    const int64_t sample = at / shape.num_heads / shape.num_queries;
    float sum = 0.0f;
    const int64_t left = shape.head_dim - lane * kPiece;
    if (at < count && left > 0) {
      const auto read = [&](const void* base, const AttentionStrides& strides) {
        const T* const token = static_cast<const T*>(base) + sample * strides.batch + query * strides.token +
                               head * strides.head + lane * kPiece;
        return load(token, piece_of<kPiece>(left, aligned));
      };
      const Floats<kPiece> o = read(b.o, b.o_strides), d_o = read(b.d_o, b.d_o_strides);
#pragma unroll
      for (int i = 0; i < kPiece; ++i) sum = __fmaf_rn(o[i], d_o[i], sum);
    }
#pragma unroll
    for (int offset = 1; offset < kLanes; offset *= 2) sum += __shfl_xor_sync(kFullMask, sum, offset);
    if (at < count && lane == 0) call.delta[(sample * shape.num_heads + head) * shape.num_queries + query] = sum;
  }
}

template <typename Math>
__global__ void __launch_bounds__(Math::kThreads, kMinBlocksPerSm)
    backward_queries(const __grid_constant__ Call call, int num_tiles, bool aligned) {
  using T = typename Math::T;
  extern __shared__ __align__(16) unsigned char memory_bytes[];
  auto& memory = *reinterpret_cast<BackwardMemory<Math>*>(memory_bytes);
  const TileOfHead at(call.shape, num_tiles, true);
  const HeadOfCall<T> head(call, at, aligned);
  const AttentionBackward& b = call.backward;
  const HeadTokens<T> k = head.keys(b.k, b.k_strides), v = head.keys(b.v, b.v_strides);
  const int first_query = at.tile * Math::kRows;
  const int num_keys = head.visible(min(first_query + Math::kRows, head.num_queries) - 1);

  const auto start_loading = [&](int first_key) {
    if (first_key < num_keys) {
      load_tile<Math, Math::kCols>(k, first_key, memory.col_tile(first_key / Math::kCols, 0));
      load_tile<Math, Math::kCols>(v, first_key, memory.col_tile(first_key / Math::kCols, 1));
    }
    commit_copies();
  };
  T* const q_tile = memory.row_tile(0);
  T* const d_o_tile = memory.row_tile(1);
  load_tile<Math, Math::kRows>(head.queries(b.q, b.q_strides), first_query, q_tile);
  load_tile<Math, Math::kRows>(head.queries(b.d_o, b.d_o_strides), first_query, d_o_tile);
  start_loading(0);

  float lse_log2[Math::kRowsOfThread], delta[Math::kRowsOfThread], scales[Math::kRowsOfThread];
#pragma unroll
  for (int i = 0; i < Math::kRowsOfThread; ++i) {
    const int query = first_query + Math::row(i);
    lse_log2[i] = query < head.num_queries ? head.lse[query] * kLog2E : 0.0f;
    delta[i] = query < head.num_queries ? head.delta[query] : 0.0f;
    scales[i] = call.shape.scale;
  }
  typename Math::Sums dq;
  dq.fill(0.0f);
  for (int first_key = 0; first_key < num_keys; first_key += Math::kCols) {
    const int stage = first_key / Math::kCols;
    start_loading(first_key + Math::kCols);
    wait_for_copies<1>();
    __syncthreads();
    typename Math::Scores scores, dp;
    Math::multiply(q_tile, memory.col_tile(stage, 0), scores);
    Math::multiply(d_o_tile, memory.col_tile(stage, 1), dp);
#pragma unroll
    for (int i = 0; i < Math::kRowsOfThread; ++i) {
      const int limit = head.visible(first_query + Math::row(i)) - first_key;
#pragma unroll
      for (int j = 0; j < Math::kCols / Math::kLanes; ++j) {
        dp.v[i][j] =
            probability(Math::col(j) < limit, scores.v[i][j], dp.v[i][j], head.factor, lse_log2[i], delta[i]).ds;
      }
    }
    Math::add_weighted(dp, memory.col_tile(stage, 0), dq);
    __syncthreads();  // before the tile's memory is filled again
  }
  wait_for_copies<0>();  // of queries that saw no key
  __syncthreads();
  Math::put(dq, scales, q_tile);  // its rows are the warp's own
  __syncthreads();
  store_tile<Math, Math::kRows>(q_tile, head.queries(b.dq, b.dq_strides), first_query);
}

template <typename Math>
__global__ void __launch_bounds__(Math::kThreads, kMinBlocksPerSm)
    backward_keys(const __grid_constant__ Call call, int num_tiles, bool aligned) {
  using T = typename Math::T;
  extern __shared__ __align__(16) unsigned char memory_bytes[];
  auto& memory = *reinterpret_cast<BackwardMemory<Math>*>(memory_bytes);
  const TileOfHead at(call.shape, num_tiles, false);
  const HeadOfCall<T> head(call, at, aligned);
  const AttentionBackward& b = call.backward;
  const HeadTokens<T> q = head.queries(b.q, b.q_strides), d_o = head.queries(b.d_o, b.d_o_strides);
  const int first_key = at.tile * Math::kRows;
  const int num_queries = first_key < head.visible.length() ? head.num_queries : 0;  // that see any of the keys
  const int first_tile = head.visible.first_query(first_key) / Math::kCols;

  const auto start_loading = [&](int stage) {
    const int first_query = stage * Math::kCols;
    if (first_query < num_queries) {
      load_tile<Math, Math::kCols>(q, first_query, memory.col_tile(stage, 0));
      load_tile<Math, Math::kCols>(d_o, first_query, memory.col_tile(stage, 1));
      const int query = first_query + static_cast<int>(threadIdx.x);
      if (threadIdx.x < Math::kCols) {
        memory.col_numbers(stage, 0)[threadIdx.x] = query < num_queries ? head.lse[query] * kLog2E : 0.0f;
        memory.col_numbers(stage, 1)[threadIdx.x] = query < num_queries ? head.delta[query] : 0.0f;
      }
    }
    commit_copies();
  };
  T* const k_tile = memory.row_tile(0);
  T* const v_tile = memory.row_tile(1);
  load_tile<Math, Math::kRows>(head.keys(b.k, b.k_strides), first_key, k_tile);
  load_tile<Math, Math::kRows>(head.keys(b.v, b.v_strides), first_key, v_tile);
  start_loading(first_tile);

  typename Math::Sums dk, dv;
  dk.fill(0.0f);
  dv.fill(0.0f);
  for (int stage = first_tile; stage * Math::kCols < num_queries; ++stage) {
    start_loading(stage + 1);
    wait_for_copies<1>();
    __syncthreads();
    typename Math::Scores scores, dp;
    Math::multiply(k_tile, memory.col_tile(stage, 0), scores);
    Math::multiply(v_tile, memory.col_tile(stage, 1), dp);
    const float* const lse_log2 = memory.col_numbers(stage, 0);
    const float* const delta = memory.col_numbers(stage, 1);
#pragma unroll
    for (int j = 0; j < Math::kCols / Math::kLanes; ++j) {
      const int col = Math::col(j), query = stage * Math::kCols + col;
      const int limit = query < num_queries ? head.visible(query) - first_key : 0;
#pragma unroll
      for (int i = 0; i < Math::kRowsOfThread; ++i) {
        const Probability of =
            probability(Math::row(i) < limit, scores.v[i][j], dp.v[i][j], head.factor, lse_log2[col], delta[col]);
        scores.v[i][j] = of.p;
        dp.v[i][j] = of.ds;
      }
    }
    Math::add_weighted(scores, memory.col_tile(stage, 1), dv);
    Math::add_weighted(dp, memory.col_tile(stage, 0), dk);
    __syncthreads();  // before the tile's memory is filled again
  }
  wait_for_copies<0>();  // of keys that no query saw
  __syncthreads();
  float scales[Math::kRowsOfThread], ones[Math::kRowsOfThread];
#pragma unroll
  for (int i = 0; i < Math::kRowsOfThread; ++i) {
    scales[i] = call.shape.scale;
    ones[i] = 1.0f;
  }
  Math::put(dk, scales, k_tile);  // the rows are the warp's own
  Math::put(dv, ones, v_tile);
  __syncthreads();
  store_tile<Math, Math::kRows>(k_tile, head.keys(b.dk, b.dk_strides), first_key);
  store_tile<Math, Math::kRows>(v_tile, head.keys(b.dv, b.dv_strides), first_key);
}

/// Both kernels with these tiles.
template <typename Math>
void launch_backward(Stream& stream, const Call& call, bool aligned) {
  constexpr std::size_t kBytes = sizeof(BackwardMemory<Math>);
  launch_tiles<Math::kRows, Math::kThreads>(stream, backward_queries<Math>, call, call.shape.num_queries, aligned,
                                            kBytes, "attention_backward");
  launch_tiles<Math::kRows, Math::kThreads>(stream, backward_keys<Math>, call, call.shape.num_keys, aligned, kBytes,
                                            "attention_backward");
}

}  // namespace

void attention_backward(Stream& stream, const AttentionBackward& b) {
  check_attention(b.shape);
  const AttentionShape& shape = b.shape;
  const int64_t num_rows = shape.batch * shape.num_heads * shape.num_queries;
  const Call call{b, shape,
                  reinterpret_cast<float*>(stream.scratch(static_cast<std::size_t>(num_rows) * sizeof(float)))};
  bool aligned = true;
  for (const auto& [base, strides] : {std::pair{b.q, b.q_strides},
                                      {b.k, b.k_strides},
                                      {b.v, b.v_strides},
                                      {b.o, b.o_strides},
                                      {b.d_o, b.d_o_strides},
                                      {b.dq, b.dq_strides},
                                      {b.dk, b.dk_strides},
                                      {b.dv, b.dv_strides}}) {
    aligned = aligned && tokens_are_aligned(base, strides, shape.dtype);
  }
  with_float_type(shape.dtype, "attention", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    if (num_rows > 0) {
      constexpr int64_t kRowsOfBlock = kBlockThreads / (kMaxAttentionHeadDim * sizeof(T) / 16);
      sum_products<T><<<grid_blocks(num_rows, kRowsOfBlock), kBlockThreads, 0, cuda_stream(stream)>>>(call, aligned);
      check_launch("attention_backward");
    }
    with_tile_dim(shape.head_dim, [&](auto dim) {
      using Tiles = AttentionMath<T, decltype(dim)::value>;
      constexpr std::size_t kBytes = sizeof(BackwardMemory<typename Tiles::Backward>);
      static_assert(sizeof(BackwardMemory<typename Tiles::SmallBackward>) <= kLeastSharedBytes);
      if (kBytes <= kLeastSharedBytes || kBytes <= most_shared_bytes()) {
        launch_backward<typename Tiles::Backward>(stream, call, aligned);
      } else {
        launch_backward<typename Tiles::SmallBackward>(stream, call, aligned);
      }
    });
  });
}

}  // namespace triptych::kernels
