#include <limits>

#include "kernels/cross_entropy.h"
#include "kernels/cuda/common.cuh"

namespace triptych::kernels {
namespace {

using namespace cuda;

constexpr int kLossThreads = 1024;
/// The maximum of no logits. Not -inf, so that no difference of maxima is NaN.
constexpr float kLowest = std::numeric_limits<float>::lowest();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// A block a row, since vocabularies are wide. Its threads keep a maximum and a sum each, which they correct when a
/// larger logit comes.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    cross_entropy_rows_kernel(CrossEntropySlice slice, CrossEntropyRows rows, bool aligned) {
  constexpr int N = kVectorSize<T>;
  constexpr int kNumWarps = kBlockThreads / kWarpSize;
  __shared__ float warp_maxima[kNumWarps];
  __shared__ float warp_sums[kNumWarps];
  const int64_t row = blockIdx.x;
  const T* const logits = static_cast<const T*>(slice.logits) + row * slice.cols;
  const int64_t cols = slice.targets[row] < 0 ? 0 : slice.cols;
  const int64_t target = slice.targets[row] - slice.class_begin;
  const float target_logit = target >= 0 && target < cols ? to_float(logits[target]) : -kInfinity;

  float maximum = fmaxf(kLowest, target_logit), sum = 0.0f;
  for (int64_t column = threadIdx.x * N; column < cols; column += kBlockThreads * N) {
    const Piece<N> piece = piece_of<N>(cols - column, aligned);
    Floats<N> logit = piece.whole ? load<N>(logits + column) : load_some<N>(logits + column, piece.count, -kInfinity);
    float largest = logit[0];
#pragma unroll
    for (int j = 1; j < N; ++j) largest = fmaxf(largest, logit[j]);
    if (largest > maximum) {
      sum *= expf(maximum - largest);
      maximum = largest;
    }
    if (target >= column && target < column + N) {  // kept apart
#pragma unroll
      for (int j = 0; j < N; ++j) logit[j] = column + j == target ? -kInfinity : logit[j];
    }
#pragma unroll
    for (int j = 0; j < N; ++j) sum += expf(logit[j] - maximum);
  }

  float row_maximum = warp_max(maximum);
  if (threadIdx.x % kWarpSize == 0) warp_maxima[threadIdx.x / kWarpSize] = row_maximum;
  __syncthreads();
#pragma unroll
  for (int warp = 0; warp < kNumWarps; ++warp) row_maximum = fmaxf(row_maximum, warp_maxima[warp]);
  sum = block_sum<kBlockThreads>(sum * expf(maximum - row_maximum), warp_sums);
  if (threadIdx.x == 0) {
    rows.maximum[row] = row_maximum;
    rows.target_logit[row] = target_logit;
    rows.others[row] = sum;
  }
  if (rows.below == nullptr) return;
  float below = 0.0f;
  for (int64_t column = threadIdx.x * N; column < cols; column += kBlockThreads * N) {
    const Piece<N> piece = piece_of<N>(cols - column, aligned);
    const Floats<N> logit =
        piece.whole ? load<N>(logits + column) : load_some<N>(logits + column, piece.count, row_maximum);
#pragma unroll
    for (int j = 0; j < N; ++j) below += row_maximum - logit[j];
  }
  below = block_sum<kBlockThreads>(below, warp_sums);
  if (threadIdx.x == 0) rows.below[row] = below;
}

struct Rescale {
  CrossEntropyRows slice;
  const float* maximum;
  int64_t cols;
  template <int N>
  __device__ void operator()(int64_t i, Piece<N> piece) const {
    Floats<N> sum = load<N>(slice.others + i, piece);
    const Floats<N> from = load<N>(slice.maximum + i, piece), to = load<N>(maximum + i, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] *= expf(from[k] - to[k]);
    store(sum, slice.others + i, piece);
    if (slice.below == nullptr || cols <= 0) return;
    sum = load<N>(slice.below + i, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] -= static_cast<float>(cols) * (from[k] - to[k]);
    store(sum, slice.below + i, piece);
  }
};

/// One block: some numbers a row, which is little beside the logits.
__global__ void __launch_bounds__(kLossThreads)
    cross_entropy_loss_kernel(const int32_t* targets, CrossEntropyRows rows, int64_t num_rows, double coefficient,
                              double* loss, LabelSmoothing smoothing) {
  __shared__ double warp_sums[kLossThreads / kWarpSize];
  const double share = smoothing.amount / static_cast<double>(smoothing.num_classes);
  double sum = 0.0;
  for (int64_t row = threadIdx.x; row < num_rows; row += kLossThreads) {
    if (targets[row] < 0) continue;
    // log(others + exp(d)) - d, where others may be tiny beside exp(0)
    const float d = rows.target_logit[row] - rows.maximum[row];
    const float log_total = log1pf(rows.others[row] + expm1f(d));
    if (smoothing.amount > 0) {
      // All three are positive, so nothing cancels.
      sum += log_total - (1 - smoothing.amount) * d + share * rows.below[row];
    } else {
      sum += static_cast<double>(log_total - d);
    }
  }
  sum = block_sum<kLossThreads>(sum, warp_sums);
  if (threadIdx.x == 0) *loss += coefficient * sum;
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    cross_entropy_backward_kernel(CrossEntropySlice slice, CrossEntropyRows rows, double coefficient,
                                  const double* dloss, T* dlogits, LabelSmoothing smoothing, bool aligned) {
  constexpr int N = kVectorSize<T>;
  const int64_t row = blockIdx.x;
  const T* const logits = static_cast<const T*>(slice.logits) + row * slice.cols;
  T* const out = dlogits + row * slice.cols;
  const int64_t target = slice.targets[row] - slice.class_begin;
  const bool has_target = slice.targets[row] >= 0;
  float maximum = 0.0f, factor = 0.0f, share = 0.0f, target_gradient = 0.0f;
  if (has_target) {
    maximum = rows.maximum[row];
    const float others = rows.others[row];
    const float scale = static_cast<float>(coefficient * *dloss);
    factor = scale / (others + expf(rows.target_logit[row] - maximum));
    target_gradient = -factor * others;
    if (smoothing.amount > 0) {
      share = scale * static_cast<float>(smoothing.amount / static_cast<double>(smoothing.num_classes));
      target_gradient += scale * static_cast<float>(smoothing.amount) - share;
    }
  }
  for (int64_t column = threadIdx.x * N; column < slice.cols; column += kBlockThreads * N) {
    const Piece<N> piece = piece_of<N>(slice.cols - column, aligned);
    Floats<N> values{};
    if (has_target) {
      values = load<N>(logits + column, piece);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        values[j] = column + j == target ? target_gradient : factor * expf(values[j] - maximum) - share;
      }
    }
    store(values, out + column, piece);
  }
}

}  // namespace

void cross_entropy_rows(Stream& stream, const CrossEntropySlice& slice, const CrossEntropyRows& rows) {
  with_float_type(slice.dtype, "cross_entropy_rows", [&](auto tag) {
    if (slice.rows <= 0) return;
    using T = typename decltype(tag)::Type;
    const bool aligned = aligned_16({slice.logits}, {slice.cols * static_cast<int64_t>(sizeof(T))});
    cross_entropy_rows_kernel<T>
        <<<static_cast<unsigned>(slice.rows), kBlockThreads, 0, cuda_stream(stream)>>>(slice, rows, aligned);
    check_launch("cross_entropy_rows");
  });
}

void cross_entropy_rescale(Stream& stream, const CrossEntropySlice& slice, const CrossEntropyRows& rows,
                           const float* maximum) {
  launch_each_piece<4>(stream, "cross_entropy_rescale", slice.rows,
                       aligned_16({rows.maximum, maximum, rows.others, rows.below}),
                       Rescale{rows, maximum, slice.cols});
}

void cross_entropy_loss(Stream& stream, const int32_t* targets, const CrossEntropyRows& rows, int64_t num_rows,
                        double coefficient, double* loss, const LabelSmoothing& smoothing) {
  if (num_rows <= 0) return;
  cross_entropy_loss_kernel<<<1, kLossThreads, 0, cuda_stream(stream)>>>(targets, rows, num_rows, coefficient, loss,
                                                                         smoothing);
  check_launch("cross_entropy_loss");
}

void cross_entropy_backward(Stream& stream, const CrossEntropySlice& slice, const CrossEntropyRows& rows,
                            double coefficient, const double* dloss, void* dlogits, const LabelSmoothing& smoothing) {
  with_float_type(slice.dtype, "cross_entropy_backward", [&](auto tag) {
    if (slice.rows <= 0 || slice.cols <= 0) return;
    using T = typename decltype(tag)::Type;
    const bool aligned = aligned_16({slice.logits, dlogits}, {slice.cols * static_cast<int64_t>(sizeof(T))});
    cross_entropy_backward_kernel<T><<<static_cast<unsigned>(slice.rows), kBlockThreads, 0, cuda_stream(stream)>>>(
        slice, rows, coefficient, dloss, static_cast<T*>(dlogits), smoothing, aligned);
    check_launch("cross_entropy_backward");
  });
}

}  // namespace triptych::kernels
