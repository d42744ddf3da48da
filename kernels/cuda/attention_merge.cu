#include "kernels/attention.h"
#include "kernels/cuda/common.cuh"

namespace triptych::kernels {
namespace {

using namespace cuda;

/// A row is a head of one token.
template <typename T>
struct Merge {
  const T* o;
  const float* lse;
  float* merged;
  const float* lse_before;
  float* merged_lse;
  int64_t num_heads;
  int64_t num_queries;
  int64_t head_dim;

  template <int N>
  __device__ void operator()(int64_t row, int64_t c, Piece<N> piece) const {
    const int64_t token = row / num_heads, head = row % num_heads;
    const int64_t sample = token / num_queries, query = token % num_queries;
    const int64_t at = (sample * num_heads + head) * num_queries + query;
    const float before = lse_before[at], here = lse[at], largest = fmaxf(before, here);
    const bool is_empty = before == -INFINITY && here == -INFINITY;  // and not if one is NaN, which stays visible
    const float of_before = is_empty ? 0.0f : expf(before - largest), of_here = is_empty ? 0.0f : expf(here - largest);
    const float sum = is_empty ? 1.0f : of_before + of_here, keep = of_before / sum, add = of_here / sum;
    if (c == 0) merged_lse[at] = is_empty ? -INFINITY : largest + logf(sum);
    Floats<N> x = load<N>(o + row * head_dim + c, piece), y = load<N>(merged + row * head_dim + c, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) y[k] = fmaf(add, x[k], keep * y[k]);
    store(y, merged + row * head_dim + c, piece);
  }
};

}  // namespace

void attention_merge(Stream& stream, const AttentionMerge& call) {
  with_float_type(call.dtype, "attention_merge", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int64_t kBytes = sizeof(T);
    const Merge<T> merge{static_cast<const T*>(call.o),
                         call.lse,
                         call.merged,
                         call.lse_before,
                         call.merged_lse,
                         call.num_heads,
                         call.num_queries,
                         call.head_dim};
    launch_each_row_piece<kVectorSize<T>>(stream, "attention_merge", call.batch * call.num_queries * call.num_heads,
                                          call.head_dim, aligned_16({call.o, call.merged}, {call.head_dim * kBytes}),
                                          merge);
  });
}

}  // namespace triptych::kernels
