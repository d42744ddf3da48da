#include <limits>

#include "kernels/cuda/common.cuh"
#include "kernels/softmax.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

// A block takes a row: a warp where rows are short.

/// Columns up to which a warp is enough: two pieces a lane of 16-bit types.
constexpr int64_t kWarpColumns = 512;

/// The maximum of no logits. Not -inf, so that no difference of maxima is NaN.
constexpr float kLowest = std::numeric_limits<float>::lowest();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// The like of block_sum.
template <int kThreads>
__device__ inline float block_max(float value, float* shared) {
  value = warp_max(value);
  if constexpr (kThreads > kWarpSize) {
    if (threadIdx.x % kWarpSize == 0) shared[threadIdx.x / kWarpSize] = value;
    __syncthreads();
#pragma unroll
    for (int warp = 0; warp < kThreads / kWarpSize; ++warp) value = fmaxf(value, shared[warp]);
    __syncthreads();
  }
  return value;
}

template <bool kLog, int kThreads, typename T>
__global__ void __launch_bounds__(kThreads)
    softmax_forward_kernel(const T* x, T* y, int64_t rows, int64_t cols, bool aligned) {
  constexpr int N = kVectorSize<T>;
  __shared__ float of_warps[kThreads / kWarpSize];
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* const from = x + row * cols;
    T* const to = y + row * cols;
    float maximum = kLowest, sum = 0.0f;
    for (int64_t column = threadIdx.x * N; column < cols; column += kThreads * N) {
      const Piece<N> piece = piece_of<N>(cols - column, aligned);
      const Floats<N> logit =
          piece.whole ? load<N>(from + column) : load_some<N>(from + column, piece.count, -kInfinity);
      float largest = logit[0];
#pragma unroll
      for (int k = 1; k < N; ++k) largest = fmaxf(largest, logit[k]);
      if (largest > maximum) {
        sum *= expf(maximum - largest);
        maximum = largest;
      }
#pragma unroll
      for (int k = 0; k < N; ++k) sum += expf(logit[k] - maximum);
    }
    const float row_maximum = block_max<kThreads>(maximum, of_warps);
    sum = block_sum<kThreads>(sum * expf(maximum - row_maximum), of_warps);
    const float scale = kLog ? logf(sum) : 1.0f / sum;
    for (int64_t column = threadIdx.x * N; column < cols; column += kThreads * N) {
      const Piece<N> piece = piece_of<N>(cols - column, aligned);
      Floats<N> values = load<N>(from + column, piece);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float less = values[k] - row_maximum;
        values[k] = kLog ? less - scale : expf(less) * scale;
      }
      store(values, to + column, piece);
    }
  }
}

template <bool kLog, int kThreads, typename T>
__global__ void __launch_bounds__(kThreads)
    softmax_backward_kernel(const T* dy, const T* y, T* dx, int64_t rows, int64_t cols, bool aligned) {
  constexpr int N = kVectorSize<T>;
  __shared__ float of_warps[kThreads / kWarpSize];
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int64_t first = row * cols;
    float sum = 0.0f;
    for (int64_t column = threadIdx.x * N; column < cols; column += kThreads * N) {
      const Piece<N> piece = piece_of<N>(cols - column, aligned);
      const Floats<N> gradient = load<N>(dy + first + column, piece);
      if constexpr (kLog) {
#pragma unroll
        for (int k = 0; k < N; ++k) sum += gradient[k];
      } else {
        const Floats<N> result = load<N>(y + first + column, piece);
#pragma unroll
        for (int k = 0; k < N; ++k) sum = fmaf(gradient[k], result[k], sum);
      }
    }
    sum = block_sum<kThreads>(sum, of_warps);
    for (int64_t column = threadIdx.x * N; column < cols; column += kThreads * N) {
      const Piece<N> piece = piece_of<N>(cols - column, aligned);
      Floats<N> gradient = load<N>(dy + first + column, piece);
      const Floats<N> result = load<N>(y + first + column, piece);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        gradient[k] = kLog ? fmaf(-expf(result[k]), sum, gradient[k]) : result[k] * (gradient[k] - sum);
      }
      store(gradient, dx + first + column, piece);
    }
  }
}

/// f(std::integral_constant<int, threads of a block>).
template <typename F>
void with_threads(int64_t cols, const F& f) {
  if (cols <= kWarpColumns) {
    f(std::integral_constant<int, kWarpSize>());
  } else {
    f(std::integral_constant<int, kBlockThreads>());
  }
}

template <bool kLog>
void forward(Stream& stream, const SoftmaxForwardArgs& args, std::string_view kernel) {
  with_float_type(args.dtype, kernel, [&](auto tag) {
    if (args.rows <= 0 || args.cols <= 0) return;
    using T = typename decltype(tag)::Type;
    const bool aligned = aligned_16({args.x, args.y}, {args.cols * static_cast<int64_t>(sizeof(T))});
    with_threads(args.cols, [&](auto threads) {
      constexpr int kThreads = decltype(threads)::value;
      softmax_forward_kernel<kLog, kThreads, T><<<grid_blocks(args.rows, 1), kThreads, 0, cuda_stream(stream)>>>(
          static_cast<const T*>(args.x), static_cast<T*>(args.y), args.rows, args.cols, aligned);
    });
    check_launch(kernel);
  });
}

template <bool kLog>
void backward(Stream& stream, const SoftmaxBackwardArgs& args, std::string_view kernel) {
  with_float_type(args.dtype, kernel, [&](auto tag) {
    if (args.rows <= 0 || args.cols <= 0) return;
    using T = typename decltype(tag)::Type;
    const bool aligned = aligned_16({args.dy, args.y, args.dx}, {args.cols * static_cast<int64_t>(sizeof(T))});
    with_threads(args.cols, [&](auto threads) {
      constexpr int kThreads = decltype(threads)::value;
      softmax_backward_kernel<kLog, kThreads, T><<<grid_blocks(args.rows, 1), kThreads, 0, cuda_stream(stream)>>>(
          static_cast<const T*>(args.dy), static_cast<const T*>(args.y), static_cast<T*>(args.dx), args.rows, args.cols,
          aligned);
    });
    check_launch(kernel);
  });
}

}  // namespace

void softmax_forward(Stream& stream, const SoftmaxForwardArgs& args) {
  forward<false>(stream, args, "softmax_forward");
}

void softmax_backward(Stream& stream, const SoftmaxBackwardArgs& args) {
  backward<false>(stream, args, "softmax_backward");
}

void log_softmax_forward(Stream& stream, const SoftmaxForwardArgs& args) {
  forward<true>(stream, args, "log_softmax_forward");
}

void log_softmax_backward(Stream& stream, const SoftmaxBackwardArgs& args) {
  backward<true>(stream, args, "log_softmax_backward");
}

}  // namespace triptych::kernels
