#include "kernels/cuda/common.cuh"
#include "kernels/normalize.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

// A warp takes a row, twice: the second time it is in the first-level cache.

constexpr int kRowsPerBlock = 4;
constexpr int N = 4;

/// f(i, piece) for the lane's pieces of a row.
template <typename F>
__device__ inline void each_piece_of_lane(int64_t cols, bool aligned, const F& f) {
  for (int64_t i = threadIdx.x * N; i < cols; i += kWarpSize * N) f(i, piece_of<N>(cols - i, aligned));
}

__device__ inline double dot_of_lane(const float* a, const float* b, int64_t cols, bool aligned) {
  double sum = 0.0;
  each_piece_of_lane(cols, aligned, [&](int64_t i, Piece<N> piece) {
    const Floats<N> u = load<N>(a + i, piece), v = load<N>(b + i, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) sum = fma(static_cast<double>(u[k]), static_cast<double>(v[k]), sum);
  });
  return sum;
}

__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    l2_normalize_forward_kernel(L2NormalizeForwardArgs args, bool aligned) {
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.y; row < args.rows;
       row += static_cast<int64_t>(gridDim.x) * kRowsPerBlock) {
    const float* x = args.x + row * args.cols;
    float* y = args.y + row * args.cols;
    const double norm = sqrt(warp_sum(dot_of_lane(x, x, args.cols, aligned)));
    const auto inv_norm = static_cast<float>(1.0 / (norm < kMinNorm ? static_cast<double>(kMinNorm) : norm));
    each_piece_of_lane(args.cols, aligned, [&](int64_t i, Piece<N> piece) {
      Floats<N> values = load<N>(x + i, piece);
#pragma unroll
      for (int k = 0; k < N; ++k) values[k] *= inv_norm;
      store(values, y + i, piece);
    });
    if (threadIdx.x == 0) args.inv_norm[row] = inv_norm;
  }
}

__global__ void __launch_bounds__(kWarpSize* kRowsPerBlock)
    l2_normalize_backward_kernel(L2NormalizeBackwardArgs args, bool aligned) {
  constexpr float kMaxInvNorm = 1.0f / kMinNorm;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.y; row < args.rows;
       row += static_cast<int64_t>(gridDim.x) * kRowsPerBlock) {
    const float* dy = args.dy + row * args.cols;
    const float* y = args.y + row * args.cols;
    float* dx = args.dx + row * args.cols;
    const float inv_norm = args.inv_norm[row];
    const auto dot = static_cast<float>(warp_sum(dot_of_lane(y, dy, args.cols, aligned)));
    const float along = inv_norm >= kMaxInvNorm ? 0.0f : dot;
    each_piece_of_lane(args.cols, aligned, [&](int64_t i, Piece<N> piece) {
      Floats<N> gradient = load<N>(dy + i, piece);
      const Floats<N> direction = load<N>(y + i, piece);
#pragma unroll
      for (int k = 0; k < N; ++k) gradient[k] = inv_norm * fmaf(-along, direction[k], gradient[k]);
      store(gradient, dx + i, piece);
    });
  }
}

constexpr int64_t kFloatBytes = sizeof(float);

}  // namespace

void l2_normalize_forward(Stream& stream, const L2NormalizeForwardArgs& args) {
  if (args.rows <= 0) return;
  l2_normalize_forward_kernel<<<grid_blocks(args.rows, kRowsPerBlock), dim3(kWarpSize, kRowsPerBlock), 0,
                                cuda_stream(stream)>>>(args, aligned_16({args.x, args.y}, {args.cols * kFloatBytes}));
  check_launch("l2_normalize_forward");
}

void l2_normalize_backward(Stream& stream, const L2NormalizeBackwardArgs& args) {
  if (args.rows <= 0) return;
  l2_normalize_backward_kernel<<<grid_blocks(args.rows, kRowsPerBlock), dim3(kWarpSize, kRowsPerBlock), 0,
                                 cuda_stream(stream)>>>(
      args, aligned_16({args.dy, args.y, args.dx}, {args.cols * kFloatBytes}));
  check_launch("l2_normalize_backward");
}

}  // namespace triptych::kernels
