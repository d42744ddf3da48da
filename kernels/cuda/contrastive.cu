#include <cfloat>

#include "base/error.h"
#include "kernels/contrastive.h"
#include "kernels/cuda/common.cuh"

namespace triptych::kernels {
namespace {

using namespace cuda;

/// What one row adds to the sums, before the coefficient and the scale.
struct ContrastiveRow {
  double loss, dscale, dscale_magnitude, dbias, dbias_magnitude;
};

constexpr int kVector = 4;
constexpr int kNumWarps = kBlockThreads / kWarpSize;

/// Rounded from double, so that the CPU takes the same.
__device__ inline float scale_of(const ContrastiveBlockArgs& args) {
  return static_cast<float>(exp(static_cast<double>(*args.log_scale)));
}

/// What a row's terms count: 0 where there are too few pairs to contrast.
__device__ inline double row_weight(const ContrastiveBlockArgs& args) {
  if (args.num_pairs == nullptr) return args.coefficient;
  return *args.num_pairs < kFewestPairs ? 0.0 : args.coefficient / *args.num_pairs;
}

/// What an absent candidate's dot product is taken for: any scale makes of it a logit whose exponential, sigmoid and
/// softplus are exactly 0, and whose product with them is 0.
constexpr float kAbsent = -FLT_MAX;

/// A piece of a row's dot products.
__device__ inline Floats<kVector> load_dots(const ContrastiveBlockArgs& args, const float* dots, int64_t column,
                                            Piece<kVector> piece) {
  Floats<kVector> result = load<kVector>(dots + column, piece);
  if (args.col_present == nullptr) return result;
#pragma unroll
  for (int j = 0; j < kVector; ++j) {
    if (j < piece.count && args.col_present[column + j] == 0) result[j] = kAbsent;
  }
  return result;
}

/// Calls f(column, piece) for this thread's pieces of the block's row: the same at every call.
template <typename F>
__device__ inline void for_pieces(int64_t cols, bool aligned, const F& f) {
  for (int64_t column = threadIdx.x * kVector; column < cols; column += kBlockThreads * kVector) {
    f(column, piece_of<kVector>(cols - column, aligned));
  }
}

/// Whether the block's row is absent: then its dot products are zeros now, and it adds nothing.
__device__ inline bool clear_absent_row(const ContrastiveBlockArgs& args, ContrastiveRow* results) {
  if (args.row_present == nullptr || args.row_present[blockIdx.x] != 0) return false;
  float* const dots = args.dots + blockIdx.x * args.cols;
  for (int64_t column = threadIdx.x; column < args.cols; column += kBlockThreads) dots[column] = 0.0f;
  if (threadIdx.x == 0) results[blockIdx.x] = {};
  return true;
}

/// A block a row. The pair's own term is a difference of near numbers where the others are not, so it is computed
/// apart, in double. Four blocks a multiprocessor suffice: for more the compiler would spill.
__global__ void __launch_bounds__(kBlockThreads, 4)
    info_nce_rows(ContrastiveBlockArgs args, bool aligned, ContrastiveRow* results) {
  __shared__ float warp_maxima[kNumWarps];
  __shared__ double warp_sums[kNumWarps];
  if (clear_absent_row(args, results)) return;
  const float scale = scale_of(args);
  float* const dots = args.dots + blockIdx.x * args.cols;
  const int64_t label = args.label_begin + blockIdx.x;
  const float label_value = dots[label];

  float max_dot = label_value;
  for_pieces(args.cols, aligned, [&](int64_t column, Piece<kVector> piece) {
    const Floats<kVector> dot = load_dots(args, dots, column, piece);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      if (j < piece.count) max_dot = fmaxf(max_dot, dot[j]);
    }
  });
  max_dot = warp_max(max_dot);
  if (threadIdx.x % kWarpSize == 0) warp_maxima[threadIdx.x / kWarpSize] = max_dot;
  __syncthreads();
#pragma unroll
  for (int warp = 0; warp < kNumWarps; ++warp) max_dot = fmaxf(max_dot, warp_maxima[warp]);

  // scale * (dot - max) rather than scale * dot - scale * max: the difference of near numbers is exact.
  const auto weight = [&](float dot) { return expf(__fmul_rn(scale, __fsub_rn(dot, max_dot))); };
  double others = 0.0;
  for_pieces(args.cols, aligned, [&](int64_t column, Piece<kVector> piece) {
    const Floats<kVector> dot = load_dots(args, dots, column, piece);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      if (j < piece.count && column + j != label) others += static_cast<double>(weight(dot[j]));
    }
  });
  others = block_sum<kBlockThreads>(others, warp_sums);

  const double label_dot = static_cast<double>(label_value);
  const double label_logit = static_cast<double>(scale) * (label_dot - static_cast<double>(max_dot));
  const double total = others + exp(label_logit);
  const double label_gradient = -others / total;  // softmax - 1
  const double full_scale = row_weight(args) * static_cast<double>(scale);
  const float inv_total = static_cast<float>(1.0 / total), gradient_scale = static_cast<float>(full_scale);
  double sum = 0.0, magnitude = 0.0;
  for_pieces(args.cols, aligned, [&](int64_t column, Piece<kVector> piece) {
    Floats<kVector> dot = load_dots(args, dots, column, piece);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      if (j >= piece.count) continue;
      if (column + j == label) {
        dot[j] = static_cast<float>(full_scale * label_gradient);
        continue;
      }
      const float probability = weight(dot[j]) * inv_total;
      const double term = static_cast<double>(probability) * static_cast<double>(dot[j]);
      sum += term;
      magnitude += fabs(term);
      dot[j] = gradient_scale * probability;
    }
    store<kVector>(dot, dots + column, piece);
  });
  sum = block_sum<kBlockThreads>(sum, warp_sums);
  magnitude = block_sum<kBlockThreads>(magnitude, warp_sums);
  if (threadIdx.x == 0) {
    results[blockIdx.x] = {log(total) - label_logit, sum + label_gradient * label_dot,
                           magnitude + fabs(label_gradient * label_dot), 0.0, 0.0};
  }
}

/// A block a row; the pair's own term in double, as above.
__global__ void __launch_bounds__(kBlockThreads)
    sigmoid_rows(ContrastiveBlockArgs args, bool aligned, ContrastiveRow* results) {
  __shared__ double warp_sums[kNumWarps];
  if (clear_absent_row(args, results)) return;
  const float scale = scale_of(args), bias = *args.bias;
  const double full_scale = row_weight(args) * static_cast<double>(scale);
  const float gradient_scale = static_cast<float>(full_scale);
  float* const dots = args.dots + blockIdx.x * args.cols;
  const int64_t label = args.label_begin + blockIdx.x;

  ContrastiveRow row{};
  const auto pair = [&](float value) {
    const double dot = static_cast<double>(value);
    const double logit = static_cast<double>(scale) * dot + static_cast<double>(bias);
    const double e = exp(-fabs(logit));
    const double gradient = -(logit < 0.0 ? 1.0 : e) / (1.0 + e);  // -sigmoid(-logit)
    row.loss += fmax(-logit, 0.0) + log1p(e);
    row.dscale += gradient * dot;
    row.dscale_magnitude += fabs(gradient * dot);
    row.dbias += gradient;
    row.dbias_magnitude += fabs(gradient);
    return static_cast<float>(full_scale * gradient);
  };
  const auto negative = [&](float dot) {
    const float logit = __fmaf_rn(scale, dot, bias);
    const float e = expf(-fabsf(logit));
    const float sigmoid = (logit < 0.0f ? e : 1.0f) / (1.0f + e);
    const double term = static_cast<double>(sigmoid) * static_cast<double>(dot);
    row.loss += static_cast<double>(fmaxf(logit, 0.0f) + log1pf(e));
    row.dscale += term;
    row.dscale_magnitude += fabs(term);
    row.dbias += static_cast<double>(sigmoid);
    row.dbias_magnitude += static_cast<double>(sigmoid);
    return gradient_scale * sigmoid;
  };
  for_pieces(args.cols, aligned, [&](int64_t column, Piece<kVector> piece) {
    Floats<kVector> dot = load_dots(args, dots, column, piece);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      if (j < piece.count) dot[j] = column + j == label ? pair(dot[j]) : negative(dot[j]);
    }
    store<kVector>(dot, dots + column, piece);
  });
  row.loss = block_sum<kBlockThreads>(row.loss, warp_sums);
  row.dscale = block_sum<kBlockThreads>(row.dscale, warp_sums);
  row.dscale_magnitude = block_sum<kBlockThreads>(row.dscale_magnitude, warp_sums);
  row.dbias = block_sum<kBlockThreads>(row.dbias, warp_sums);
  row.dbias_magnitude = block_sum<kBlockThreads>(row.dbias_magnitude, warp_sums);
  if (threadIdx.x == 0) results[blockIdx.x] = row;
}

/// One block: the rows' sums in an order that their number alone decides.
__global__ void __launch_bounds__(kBlockThreads) add_rows(ContrastiveBlockArgs args, const ContrastiveRow* rows) {
  __shared__ double warp_sums[kNumWarps];
  const auto sum_of = [&](double ContrastiveRow::*member) {
    double sum = 0.0;
    for (int64_t row = threadIdx.x; row < args.rows; row += kBlockThreads) sum += rows[row].*member;
    return block_sum<kBlockThreads>(sum, warp_sums);
  };
  const double loss = sum_of(&ContrastiveRow::loss);
  const double dscale = sum_of(&ContrastiveRow::dscale);
  const double dscale_magnitude = sum_of(&ContrastiveRow::dscale_magnitude);
  const double dbias = sum_of(&ContrastiveRow::dbias);
  const double dbias_magnitude = sum_of(&ContrastiveRow::dbias_magnitude);
  if (threadIdx.x != 0) return;
  const double scale = static_cast<double>(scale_of(args)), weight = row_weight(args), size = fabs(weight);
  ContrastiveSums& sums = *args.sums;
  sums.loss += weight * loss;
  sums.dlog_scale += weight * scale * dscale;
  sums.dlog_scale_magnitude += size * scale * dscale_magnitude;
  sums.dbias += weight * dbias;
  sums.dbias_magnitude += size * dbias_magnitude;
}

template <typename Kernel>
void evaluate_block(Stream& stream, const ContrastiveBlockArgs& args, Kernel kernel, std::string_view name) {
  auto* const rows =
      reinterpret_cast<ContrastiveRow*>(stream.scratch(static_cast<std::size_t>(args.rows) * sizeof(ContrastiveRow)));
  const bool aligned = aligned_16({args.dots}, {args.cols * static_cast<int64_t>(sizeof(float))});
  kernel<<<static_cast<unsigned>(args.rows), kBlockThreads, 0, cuda_stream(stream)>>>(args, aligned, rows);
  check_launch(name);
  add_rows<<<1, kBlockThreads, 0, cuda_stream(stream)>>>(args, rows);
  check_launch(name);
}

}  // namespace

void info_nce_block(Stream& stream, const ContrastiveBlockArgs& args) {
  if (args.rows <= 0) return;
  TRIPTYCH_CHECK(args.label_begin >= 0 && args.label_begin + args.rows <= args.cols,
                 "Every row's label is a column, found labels [{}, {}) of {} columns.", args.label_begin,
                 args.label_begin + args.rows, args.cols);
  evaluate_block(stream, args, info_nce_rows, "info_nce_block");
}

void sigmoid_block(Stream& stream, const ContrastiveBlockArgs& args) {
  if (args.rows <= 0) return;
  evaluate_block(stream, args, sigmoid_rows, "sigmoid_block");
}

}  // namespace triptych::kernels
