#include <cfloat>

#include "kernels/contrastive_checks.h"
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
__device__ inline float scale_of(const float* log_scale) {
  return static_cast<float>(exp(static_cast<double>(*log_scale)));
}

/// What a row's terms count: 0 where there are too few pairs to contrast.
__device__ inline double row_weight(const ContrastiveTerms& terms) {
  if (terms.num_pairs == nullptr) return terms.coefficient;
  return *terms.num_pairs < kFewestPairs ? 0.0 : terms.coefficient / *terms.num_pairs;
}

/// What the dot product of what is absent is taken for: any scale makes of it a logit whose exponential, sigmoid and
/// softplus are exactly 0, and whose product with them is 0.
constexpr float kAbsent = -FLT_MAX;

/// The own candidate of the block's row, a column; -1 if that is in another block.
__device__ inline int64_t own_column(const ContrastiveBlock& block) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) - block.first_row;
  return i >= 0 && i < block.num_own ? block.first_col + i : -1;
}

/// A piece of a row's dot products, without the own one, whose term is a difference of near numbers where the others
/// are not: it is computed apart, in double.
__device__ inline Floats<kVector> load_others(const ContrastiveBlock& block, const float* dots, int64_t column,
                                              int64_t own, Piece<kVector> piece) {
  Floats<kVector> result = load<kVector>(dots + column, piece);
#pragma unroll
  for (int j = 0; j < kVector; ++j) {
    if (j >= piece.count) continue;
    if (column + j == own || (block.col_present != nullptr && block.col_present[column + j] == 0)) result[j] = kAbsent;
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

/// Whether the block's row is absent: then all of it is `value` now.
__device__ inline bool fill_absent_row(const ContrastiveBlock& block, float value) {
  if (block.row_present == nullptr || block.row_present[blockIdx.x] != 0) return false;
  float* const dots = block.dots + blockIdx.x * block.cols;
  for (int64_t column = threadIdx.x; column < block.cols; column += kBlockThreads) dots[column] = value;
  return true;
}

/// scale * (dot - maximum) rather than scale * dot - scale * maximum: the difference of near numbers is exact.
__device__ inline float exponential(float scale, float dot, float maximum) {
  return expf(__fmul_rn(scale, __fsub_rn(dot, maximum)));
}

/// `others` in terms of a maximum that is not below that of before, and a sum in these terms.
__device__ inline float joined(float others, float before, float scale, float maximum, double sum) {
  const double difference = static_cast<double>(before) - static_cast<double>(maximum);
  return static_cast<float>(static_cast<double>(others) * exp(static_cast<double>(scale) * difference) + sum);
}

/// A block a row. Leaves absent rows, absent columns and own candidates kAbsent, for the columns. Four blocks a
/// multiprocessor suffice: for more the compiler would spill.
__global__ void __launch_bounds__(kBlockThreads, 4)
    row_statistics(ContrastiveBlock block, ContrastiveTerms terms, bool aligned, InfoNceStatistics of_rows,
                   InfoNceStatistics of_cols) {
  __shared__ float warp_maxima[kNumWarps];
  __shared__ double warp_sums[kNumWarps];
  if (fill_absent_row(block, kAbsent)) return;
  const float scale = scale_of(terms.log_scale);
  float* const dots = block.dots + blockIdx.x * block.cols;
  const int64_t own = own_column(block);
  const float own_dot = own >= 0 ? dots[own] : kAbsent, before = of_rows.maximum[blockIdx.x];
  __syncthreads();  // before another thread takes the own one out
  if (threadIdx.x == 0 && own >= 0) of_rows.own[blockIdx.x] = of_cols.own[own] = own_dot;

  float maximum = fmaxf(before, own_dot);
  for_pieces(block.cols, aligned, [&](int64_t column, Piece<kVector> piece) {
    const Floats<kVector> dot = load_others(block, dots, column, own, piece);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      if (j < piece.count) maximum = fmaxf(maximum, dot[j]);
    }
    store<kVector>(dot, dots + column, piece);
  });
  maximum = warp_max(maximum);
  if (threadIdx.x % kWarpSize == 0) warp_maxima[threadIdx.x / kWarpSize] = maximum;
  __syncthreads();
#pragma unroll
  for (int warp = 0; warp < kNumWarps; ++warp) maximum = fmaxf(maximum, warp_maxima[warp]);

  double sum = 0.0;
  for_pieces(block.cols, aligned, [&](int64_t column, Piece<kVector> piece) {
    const Floats<kVector> dot = load<kVector>(dots + column, piece);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      if (j < piece.count) sum += static_cast<double>(exponential(scale, dot[j], maximum));
    }
  });
  sum = block_sum<kBlockThreads>(sum, warp_sums);
  if (threadIdx.x != 0) return;
  of_rows.others[blockIdx.x] = joined(of_rows.others[blockIdx.x], before, scale, maximum, sum);
  of_rows.maximum[blockIdx.x] = maximum;
}

/// After row_statistics. A warp's threads have a column each, and the warps share the rows.
__global__ void __launch_bounds__(kBlockThreads)
    col_statistics(ContrastiveBlock block, ContrastiveTerms terms, InfoNceStatistics of_cols) {
  __shared__ float warp_maxima[kNumWarps][kWarpSize];
  __shared__ double warp_sums[kNumWarps][kWarpSize];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kWarpSize + lane;
  const bool is_inside = column < block.cols;
  const float scale = scale_of(terms.log_scale);
  const float before = is_inside ? of_cols.maximum[column] : kAbsent;
  float maximum = is_inside ? fmaxf(before, of_cols.own[column]) : kAbsent;
  for (int64_t row = warp; is_inside && row < block.rows; row += kNumWarps) {
    maximum = fmaxf(maximum, block.dots[row * block.cols + column]);
  }
  warp_maxima[warp][lane] = maximum;
  __syncthreads();
#pragma unroll
  for (int other = 0; other < kNumWarps; ++other) maximum = fmaxf(maximum, warp_maxima[other][lane]);
  double sum = 0.0;
  for (int64_t row = warp; is_inside && row < block.rows; row += kNumWarps) {
    sum += static_cast<double>(exponential(scale, block.dots[row * block.cols + column], maximum));
  }
  warp_sums[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || !is_inside) return;
#pragma unroll
  for (int other = 1; other < kNumWarps; ++other) sum += warp_sums[other][lane];
  of_cols.others[column] = joined(of_cols.others[column], before, scale, maximum, sum);
  of_cols.maximum[column] = maximum;
}

__global__ void __launch_bounds__(kBlockThreads)
    rescale(const float* log_scale, InfoNceStatistics statistics, const float* maximum, int64_t n) {
  const float scale = scale_of(log_scale);
  for (int64_t i = grid_thread(); i < n; i += grid_threads()) {
    statistics.others[i] = joined(statistics.others[i], statistics.maximum[i], scale, maximum[i], 0.0);
  }
}

/// The sum of a row's exponentials, and its own logit, in terms of the maximum.
struct Total {
  double total, own_logit;
};
__device__ inline Total total_of(const InfoNceStatistics& statistics, float scale, int64_t i) {
  const double difference = static_cast<double>(statistics.own[i]) - static_cast<double>(statistics.maximum[i]);
  const double own_logit = static_cast<double>(scale) * difference;
  return {static_cast<double>(statistics.others[i]) + exp(own_logit), own_logit};
}

__global__ void __launch_bounds__(kBlockThreads) softmax(InfoNceSoftmaxArgs args, ContrastiveTerms terms) {
  const float scale = scale_of(terms.log_scale);
  const InfoNceSoftmax& softmax = args.softmax;
  for (int64_t i = grid_thread(); i < args.n; i += grid_threads()) {
    if (args.present != nullptr && args.present[i] == 0) {
      softmax.maximum[i] = softmax.inverse_sum[i] = softmax.own[i] = 0.0f;
      continue;
    }
    const double total = total_of(args.statistics, scale, i).total;
    softmax.maximum[i] = args.statistics.maximum[i];
    softmax.inverse_sum[i] = static_cast<float>(1.0 / total);
    softmax.own[i] = static_cast<float>(-static_cast<double>(args.statistics.others[i]) / total);
  }
}

/// One block: a sum in an order that the number of terms alone decides.
__global__ void __launch_bounds__(kBlockThreads) add_loss(InfoNceSoftmaxArgs args, ContrastiveTerms terms) {
  __shared__ double warp_sums[kNumWarps];
  const float scale = scale_of(terms.log_scale);
  double loss = 0.0;
  for (int64_t counted = threadIdx.x; counted < args.num_counted; counted += kBlockThreads) {
    const int64_t i = args.counted_begin + counted;
    if (args.present != nullptr && args.present[i] == 0) continue;
    const Total row = total_of(args.statistics, scale, i);
    loss += log(row.total) - row.own_logit;
  }
  loss = block_sum<kBlockThreads>(loss, warp_sums);
  if (threadIdx.x == 0) terms.sums->loss += row_weight(terms) * loss;
}

/// A block a row.
__global__ void __launch_bounds__(kBlockThreads, 4)
    info_nce_gradient_rows(ContrastiveBlock block, ContrastiveTerms terms, bool aligned, InfoNceSoftmax of_rows,
                           InfoNceSoftmax of_cols, ContrastiveRow* results) {
  __shared__ double warp_sums[kNumWarps];
  if (fill_absent_row(block, 0.0f)) {
    if (threadIdx.x == 0) results[blockIdx.x] = {};
    return;
  }
  const float scale = scale_of(terms.log_scale);
  const double full_scale = row_weight(terms) * static_cast<double>(scale);
  const float gradient_scale = static_cast<float>(full_scale);
  float* const dots = block.dots + blockIdx.x * block.cols;
  const int64_t own = own_column(block);
  const float own_dot = own >= 0 ? dots[own] : 0.0f;
  const float row_maximum = of_rows.maximum[blockIdx.x], row_inverse = of_rows.inverse_sum[blockIdx.x];
  const double own_gradient =
      own >= 0 ? static_cast<double>(of_rows.own[blockIdx.x]) + static_cast<double>(of_cols.own[own]) : 0.0;
  __syncthreads();  // before another thread leaves the own one's gradient in its place

  double sum = 0.0, magnitude = 0.0;
  for_pieces(block.cols, aligned, [&](int64_t column, Piece<kVector> piece) {
    Floats<kVector> dot = load_others(block, dots, column, own, piece);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      if (j >= piece.count) continue;
      const float of_row = exponential(scale, dot[j], row_maximum) * row_inverse;
      const float of_col = exponential(scale, dot[j], of_cols.maximum[column + j]) * of_cols.inverse_sum[column + j];
      const float probabilities = of_row + of_col;
      const double term = static_cast<double>(probabilities) * static_cast<double>(dot[j]);
      sum += term;
      magnitude += fabs(term);
      dot[j] = column + j == own ? static_cast<float>(full_scale * own_gradient) : gradient_scale * probabilities;
    }
    store<kVector>(dot, dots + column, piece);
  });
  sum = block_sum<kBlockThreads>(sum, warp_sums);
  magnitude = block_sum<kBlockThreads>(magnitude, warp_sums);
  if (threadIdx.x != 0) return;
  const double own_term = own_gradient * static_cast<double>(own_dot);
  results[blockIdx.x] = {0.0, sum + own_term, magnitude + fabs(own_term), 0.0, 0.0};
}

/// A block a row.
__global__ void __launch_bounds__(kBlockThreads)
    sigmoid_rows(ContrastiveBlock block, ContrastiveTerms terms, bool aligned, ContrastiveRow* results) {
  __shared__ double warp_sums[kNumWarps];
  if (fill_absent_row(block, 0.0f)) {
    if (threadIdx.x == 0) results[blockIdx.x] = {};
    return;
  }
  const float scale = scale_of(terms.log_scale), bias = *terms.bias;
  const double full_scale = row_weight(terms) * static_cast<double>(scale);
  const float gradient_scale = static_cast<float>(full_scale);
  float* const dots = block.dots + blockIdx.x * block.cols;
  const int64_t own = own_column(block);

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
  for_pieces(block.cols, aligned, [&](int64_t column, Piece<kVector> piece) {
    const Floats<kVector> all = load<kVector>(dots + column, piece);
    Floats<kVector> dot = load_others(block, dots, column, own, piece);
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      if (j < piece.count) dot[j] = column + j == own ? pair(all[j]) : negative(dot[j]);
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
__global__ void __launch_bounds__(kBlockThreads)
    add_rows(int64_t num_rows, ContrastiveTerms terms, const ContrastiveRow* rows) {
  __shared__ double warp_sums[kNumWarps];
  const auto sum_of = [&](double ContrastiveRow::*member) {
    double sum = 0.0;
    for (int64_t row = threadIdx.x; row < num_rows; row += kBlockThreads) sum += rows[row].*member;
    return block_sum<kBlockThreads>(sum, warp_sums);
  };
  const double loss = sum_of(&ContrastiveRow::loss);
  const double dscale = sum_of(&ContrastiveRow::dscale);
  const double dscale_magnitude = sum_of(&ContrastiveRow::dscale_magnitude);
  const double dbias = sum_of(&ContrastiveRow::dbias);
  const double dbias_magnitude = sum_of(&ContrastiveRow::dbias_magnitude);
  if (threadIdx.x != 0) return;
  const double scale = static_cast<double>(scale_of(terms.log_scale)), weight = row_weight(terms), size = fabs(weight);
  ContrastiveSums& sums = *terms.sums;
  sums.loss += weight * loss;
  sums.dlog_scale += weight * scale * dscale;
  sums.dlog_scale_magnitude += size * scale * dscale_magnitude;
  sums.dbias += weight * dbias;
  sums.dbias_magnitude += size * dbias_magnitude;
}

bool is_aligned(const ContrastiveBlock& block) {
  return aligned_16({block.dots}, {block.cols * static_cast<int64_t>(sizeof(float))});
}

ContrastiveRow* scratch_of_rows(Stream& stream, const ContrastiveBlock& block) {
  return reinterpret_cast<ContrastiveRow*>(
      stream.scratch(static_cast<std::size_t>(block.rows) * sizeof(ContrastiveRow)));
}

}  // namespace

void info_nce_statistics(Stream& stream, const ContrastiveBlock& block, const ContrastiveTerms& terms,
                         const InfoNceStatistics& of_rows, const InfoNceStatistics& of_cols) {
  if (block.rows <= 0 || block.cols <= 0) return;
  check_own(block);
  row_statistics<<<static_cast<unsigned>(block.rows), kBlockThreads, 0, cuda_stream(stream)>>>(
      block, terms, is_aligned(block), of_rows, of_cols);
  check_launch("info_nce_statistics");
  const auto num_blocks = static_cast<unsigned>((block.cols + kWarpSize - 1) / kWarpSize);
  col_statistics<<<num_blocks, kBlockThreads, 0, cuda_stream(stream)>>>(block, terms, of_cols);
  check_launch("info_nce_statistics");
}

void info_nce_rescale(Stream& stream, const float* log_scale, const InfoNceStatistics& statistics, const float* maximum,
                      int64_t n) {
  if (n <= 0) return;
  rescale<<<grid_blocks(n, kBlockThreads), kBlockThreads, 0, cuda_stream(stream)>>>(log_scale, statistics, maximum, n);
  check_launch("info_nce_rescale");
}

void info_nce_softmax(Stream& stream, const InfoNceSoftmaxArgs& args, const ContrastiveTerms& terms) {
  if (args.n <= 0) return;
  softmax<<<grid_blocks(args.n, kBlockThreads), kBlockThreads, 0, cuda_stream(stream)>>>(args, terms);
  check_launch("info_nce_softmax");
  if (args.num_counted <= 0) return;
  add_loss<<<1, kBlockThreads, 0, cuda_stream(stream)>>>(args, terms);
  check_launch("info_nce_softmax");
}

void info_nce_gradients(Stream& stream, const ContrastiveBlock& block, const ContrastiveTerms& terms,
                        const InfoNceSoftmax& of_rows, const InfoNceSoftmax& of_cols) {
  if (block.rows <= 0) return;
  check_own(block);
  ContrastiveRow* const rows = scratch_of_rows(stream, block);
  info_nce_gradient_rows<<<static_cast<unsigned>(block.rows), kBlockThreads, 0, cuda_stream(stream)>>>(
      block, terms, is_aligned(block), of_rows, of_cols, rows);
  check_launch("info_nce_gradients");
  add_rows<<<1, kBlockThreads, 0, cuda_stream(stream)>>>(block.rows, terms, rows);
  check_launch("info_nce_gradients");
}

void sigmoid_block(Stream& stream, const ContrastiveBlock& block, const ContrastiveTerms& terms) {
  if (block.rows <= 0) return;
  check_own(block);
  ContrastiveRow* const rows = scratch_of_rows(stream, block);
  sigmoid_rows<<<static_cast<unsigned>(block.rows), kBlockThreads, 0, cuda_stream(stream)>>>(block, terms,
                                                                                             is_aligned(block), rows);
  check_launch("sigmoid_block");
  add_rows<<<1, kBlockThreads, 0, cuda_stream(stream)>>>(block.rows, terms, rows);
  check_launch("sigmoid_block");
}

}  // namespace triptych::kernels
