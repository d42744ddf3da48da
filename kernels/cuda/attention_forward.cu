#include "kernels/attention.h"
#include "kernels/cuda/attention_math.cuh"
#include "kernels/cuda/attention_tiles.cuh"

namespace triptych::kernels {
namespace {

using namespace cuda;

/// A block's queries, and two tiles of keys and values: while one is worked on, the other arrives.
template <typename Math>
struct ForwardMemory {
  static constexpr int kStage = 2 * Math::kCols * Math::kStride;
  alignas(16) typename Math::T q[Math::kRows * Math::kStride];
  alignas(16) typename Math::T keys_and_values[2 * kStage];
  __device__ typename Math::T* keys(int tile) { return keys_and_values + tile % 2 * kStage; }
  __device__ typename Math::T* values(int tile) { return keys(tile) + kStage / 2; }
};

/// Online softmax of a thread's rows, in powers of two: the maximum over all lanes of factor * score, and this lane's
/// share of the sum of 2^(factor * score - maximum).
template <typename Math>
struct OnlineSoftmax {
  float maximum[Math::kRowsOfThread], sum[Math::kRowsOfThread];

  __device__ OnlineSoftmax() {
#pragma unroll
    for (int i = 0; i < Math::kRowsOfThread; ++i) {
      maximum[i] = -INFINITY;
      sum[i] = 0.0f;
    }
  }

  /// Replaces a tile's scores by the weights of their keys, zeros from each row's limit on; shrinks what was summed
  /// with the weights of earlier tiles.
  __device__ void add_tile(typename Math::Scores& scores, const int (&limits)[Math::kRowsOfThread], float factor,
                           typename Math::Sums& sums) {
#pragma unroll
    for (int i = 0; i < Math::kRowsOfThread; ++i) {
      constexpr int kCount = Math::kCols / Math::kLanes;
      float largest = maximum[i];
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        if (Math::col(j) < limits[i]) largest = fmaxf(largest, scores.v[i][j] * factor);
      }
      largest = row_max<Math>(largest);
      const float origin = largest == -INFINITY ? 0.0f : largest;  // of a row that has seen no key yet
      const float shrink = exp2f(maximum[i] - origin);
      maximum[i] = largest;
      float total = 0.0f;
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        scores.v[i][j] = Math::col(j) < limits[i] ? exp2f(__fmaf_rn(scores.v[i][j], factor, -origin)) : 0.0f;
        total += scores.v[i][j];
      }
      sum[i] = sum[i] * shrink + total;
#pragma unroll
      for (int j = 0; j < Math::kDim / Math::kLanes; ++j) sums.v[i][j] *= shrink;
    }
  }
};

template <typename Math>
__global__ void __launch_bounds__(Math::kThreads, kMinBlocksPerSm)
    forward(const __grid_constant__ AttentionForward call, int num_tiles, bool aligned) {
  using T = typename Math::T;
  extern __shared__ __align__(16) unsigned char memory_bytes[];
  auto& memory = *reinterpret_cast<ForwardMemory<Math>*>(memory_bytes);
  const AttentionShape& shape = call.shape;
  const TileOfHead at(shape, num_tiles, true);
  const auto tokens = [&](const void* base, const AttentionStrides& strides, int64_t count) {
    return HeadTokens<T>(base, strides, at.sample, at.head, count, shape, aligned);
  };
  const HeadTokens<T> k = tokens(call.k, call.k_strides, shape.num_keys);
  const HeadTokens<T> v = tokens(call.v, call.v_strides, shape.num_keys);
  const VisibleKeys visible(shape, at.sample);
  const int num_queries = static_cast<int>(shape.num_queries), first_query = at.tile * Math::kRows;
  const int num_keys = visible(min(first_query + Math::kRows, num_queries) - 1);
  const float factor = shape.scale * kLog2E;

  const auto start_loading = [&](int first_key) {
    if (first_key < num_keys) {
      load_tile<Math, Math::kCols>(k, first_key, memory.keys(first_key / Math::kCols));
      load_tile<Math, Math::kCols>(v, first_key, memory.values(first_key / Math::kCols));
    }
    commit_copies();
  };
  load_tile<Math, Math::kRows>(tokens(call.q, call.q_strides, shape.num_queries), first_query, memory.q);
  start_loading(0);

  OnlineSoftmax<Math> softmax;
  typename Math::Sums sums;
  sums.fill(0.0f);
  for (int first_key = 0; first_key < num_keys; first_key += Math::kCols) {
    start_loading(first_key + Math::kCols);
    wait_for_copies<1>();
    __syncthreads();
    typename Math::Scores scores;
    Math::multiply(memory.q, memory.keys(first_key / Math::kCols), scores);
    int limits[Math::kRowsOfThread];
#pragma unroll
    for (int i = 0; i < Math::kRowsOfThread; ++i) limits[i] = visible(first_query + Math::row(i)) - first_key;
    softmax.add_tile(scores, limits, factor, sums);
    Math::add_weighted(scores, memory.values(first_key / Math::kCols), sums);
    __syncthreads();  // before the tile's memory is filled again
  }

  float normalizers[Math::kRowsOfThread];
#pragma unroll
  for (int i = 0; i < Math::kRowsOfThread; ++i) {
    const int query = first_query + Math::row(i);
    const bool sees_any = visible(query) > 0;
    const float total = row_sum<Math>(softmax.sum[i]);
    normalizers[i] = sees_any ? 1.0f / total : 0.0f;
    if (call.lse != nullptr && query < num_queries && Math::col(0) == 0) {
      call.lse[at.index * num_queries + query] =
          sees_any ? (softmax.maximum[i] + log2f(total)) * std::numbers::ln2_v<float> : -INFINITY;
    }
  }
  wait_for_copies<0>();  // of queries that saw no key
  __syncthreads();
  Math::put(sums, normalizers, memory.q);  // its rows are the warp's own
  __syncthreads();
  store_tile<Math, Math::kRows>(memory.q, tokens(call.o, call.o_strides, shape.num_queries), first_query);
}

}  // namespace

int64_t max_attention_head_dim() {
  return kMaxAttentionHeadDim;
}

void attention_forward(Stream& stream, const AttentionForward& call) {
  check_attention(call.shape);
  with_float_type(call.shape.dtype, "attention", [&](auto tag) {
    with_tile_dim(call.shape.head_dim, [&](auto dim) {
      using Math = typename AttentionMath<typename decltype(tag)::Type, decltype(dim)::value>::Forward;
      static_assert(sizeof(ForwardMemory<Math>) <= kLeastSharedBytes);
      const DType dtype = call.shape.dtype;
      const bool aligned =
          tokens_are_aligned(call.q, call.q_strides, dtype) && tokens_are_aligned(call.k, call.k_strides, dtype) &&
          tokens_are_aligned(call.v, call.v_strides, dtype) && tokens_are_aligned(call.o, call.o_strides, dtype);
      launch_tiles<Math::kRows, Math::kThreads>(stream, forward<Math>, call, call.shape.num_queries, aligned,
                                                sizeof(ForwardMemory<Math>), "attention_forward");
    });
  });
}

}  // namespace triptych::kernels
