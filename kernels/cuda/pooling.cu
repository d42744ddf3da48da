#include "base/checked.h"
#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/token_rows.cuh"
#include "kernels/pooling.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

/// The number of a sample's rows that mean_pool takes, and what each counts.
struct Averaged {
  const int32_t* lengths;  ///< or null
  int64_t seq;
  struct Rows {
    int64_t length;
    float weight;  ///< NaN if the contract is broken
  };
  __device__ Rows operator()(int64_t b) const {
    const int64_t length = lengths == nullptr ? seq : lengths[b];
    if (length < 0 || length > seq) return {seq, nanf("")};
    return {length, length == 0 ? 0.0f : 1.0f / static_cast<float>(length)};
  }
};

/// A block takes kSumColumns columns of a sample.
template <typename X, typename Out>
__global__ void __launch_bounds__(kBlockThreads)
    mean_pool_kernel(const X* x, Out* out, Averaged averaged, int64_t batch, int64_t cols, bool aligned) {
  constexpr int N = kVectorSize<X>;
  __shared__ SumsOfWarps<N> shared;
  const int64_t first_column = static_cast<int64_t>(blockIdx.y) * kSumColumns<N>;
  const int64_t column = first_column + threadIdx.x % kWarpSize * N;
  for (int64_t b = blockIdx.x; b < batch; b += gridDim.x) {
    const Averaged::Rows rows = averaged(b);
    Floats<N> sum{};
    if (column < cols) {
      const X* const from = x + b * averaged.seq * cols + column;
      const Piece<N> piece = piece_of<N>(cols - column, aligned);
      sum = sum_rows_of_warp<N, 4>(0, rows.length, [&](int64_t row) { return load<N>(from + row * cols, piece); });
    }
    sum_warps<N>(sum, shared, [&](int c, float total) {
      if (first_column + c < cols) out[b * cols + first_column + c] = from_float<Out>(rows.weight * total);
    });
  }
}

/// A row of [batch, seq] at a time.
template <typename Out, typename X>
struct MeanPoolBackward {
  const Out* dout;
  X* dx;
  Averaged averaged;
  int64_t cols;
  template <int N>
  __device__ void operator()(int64_t row, int64_t c, Piece<N> piece) const {
    const int64_t b = row / averaged.seq, s = row % averaged.seq;
    const Averaged::Rows rows = averaged(b);
    Floats<N> gradient{};
    if (s < rows.length) {
      gradient = load<N>(dout + b * cols + c, piece);
#pragma unroll
      for (int k = 0; k < N; ++k) gradient[k] *= rows.weight;
    }
    store(gradient, dx + row * cols + c, piece);
  }
};

}  // namespace

void mean_pool(Stream& stream, const PoolForwardArgs& args) {
  with_types(args.dtype, args.out_dtype, "mean_pool", [&](auto x_tag, auto out_tag) {
    if (args.batch <= 0 || args.cols <= 0) return;
    using X = typename decltype(x_tag)::Type;
    using Out = typename decltype(out_tag)::Type;
    constexpr int64_t kBytes = sizeof(X);
    const dim3 grid(grid_blocks(args.batch, 1), narrow<unsigned>(ceil_div(args.cols, kSumColumns<kVectorSize<X>>)));
    mean_pool_kernel<X, Out><<<grid, kBlockThreads, 0, cuda_stream(stream)>>>(
        static_cast<const X*>(args.x), static_cast<Out*>(args.out), Averaged{args.lengths, args.seq}, args.batch,
        args.cols, aligned_16({args.x}, {args.cols * kBytes}));
    check_launch("mean_pool");
  });
}

void mean_pool_backward(Stream& stream, const PoolBackwardArgs& args) {
  launch_rows<MeanPoolBackward>(stream, "mean_pool_backward", args.batch * args.seq, args.cols, args.dout,
                                args.out_dtype, args.dx, args.dtype, Averaged{args.lengths, args.seq});
}

}  // namespace triptych::kernels
