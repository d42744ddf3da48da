#include "kernels/contrastive.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/contrastive_checks.h"
#include "kernels/cpu/parallel.h"

#ifndef TRIPTYCH_CONTRASTIVE_ROW
#define TRIPTYCH_CONTRASTIVE_ROW
namespace triptych::kernels::cpu {

/// What one row adds to the sums, before the coefficient and the scale.
struct ContrastiveRow {
  double loss, dscale, dscale_magnitude, dbias, dbias_magnitude;
};

/// A call, with the values that it points to.
struct ContrastiveCall {
  ContrastiveBlock block;
  float scale, bias;
  double weight;  // of a row
  InfoNceStatistics row_statistics, col_statistics;
  InfoNceSoftmax row_softmax, col_softmax;
};

}  // namespace triptych::kernels::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/contrastive.cpp"
// simd.h chooses the targets, so it comes before any header of Highway.
// clang-format off
#include "kernels/cpu/simd.h"
#include <hwy/contrib/math/math-inl.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

namespace {

/// What the dot product of what is absent becomes: any scale makes of it a logit whose exponential, sigmoid and
/// softplus are exactly 0, and whose product with them is 0.
constexpr float kAbsent = std::numeric_limits<float>::lowest();

inline bool is_absent(const ContrastiveBlock& block, int64_t row) {
  return block.row_present != nullptr && block.row_present[row] == 0;
}

/// The row's own candidate, a column; -1 if that is in another block.
inline int64_t own_column(const ContrastiveBlock& block, int64_t row) {
  const int64_t i = row - block.first_row;
  return i >= 0 && i < block.num_own ? block.first_col + i : -1;
}

/// Makes kAbsent of the row's candidates that are, and of its own one, whose dot product it returns: its term is a
/// difference of near numbers where the others are not, so it is computed apart, in double.
inline float take_own(const ContrastiveBlock& block, int64_t row, int64_t own) {
  float* const dots = block.dots + row * block.cols;
  if (block.col_present != nullptr) {
    for (int64_t j = 0; j < block.cols; ++j) dots[j] = block.col_present[j] != 0 ? dots[j] : kAbsent;
  }
  if (own < 0) return kAbsent;
  const float dot = dots[own];
  dots[own] = kAbsent;
  return dot;
}

/// scale * (dot - maximum) rather than scale * dot - scale * maximum: the difference of near numbers is exact.
HWY_INLINE Vec exponential(Vec scale, Vec dot, Vec maximum) {
  return hn::Exp(kFloats, hn::Mul(scale, hn::Sub(dot, maximum)));
}

/// kAbsent in the lanes beyond the part.
HWY_INLINE Vec absent_beyond(Vec v, Whole) {
  return v;
}
HWY_INLINE Vec absent_beyond(Vec v, Part part) {
  return hn::IfThenElse(hn::FirstN(kFloats, static_cast<std::size_t>(part.count)), v, hn::Set(kFloats, kAbsent));
}

/// The gradients of a block's rows, in place of their dot products: `of_row(row, dots, own, own_dot)` leaves a row's,
/// whose own dot product has been taken out, and returns what the row adds to the sums. Those of absent rows are zeros.
template <typename OfRow>
HWY_INLINE void gradient_rows(const ContrastiveBlock& block, int64_t begin, int64_t end, ContrastiveRow* results,
                              const OfRow& of_row) {
  for (int64_t row = begin; row < end; ++row) {
    float* const dots = block.dots + row * block.cols;
    if (is_absent(block, row)) {
      results[row] = {};
      std::fill_n(dots, block.cols, 0.0f);
      continue;
    }
    const int64_t own = own_column(block, row);
    const auto own_dot = static_cast<double>(take_own(block, row, own));
    results[row] = of_row(row, dots, own, own_dot);
  }
}

/// `others` in terms of a maximum that is not below that of before, and a sum in these terms.
inline float joined(double others, float before, double scale, float maximum, double sum) {
  return static_cast<float>(others * std::exp(scale * (static_cast<double>(before) - static_cast<double>(maximum))) +
                            sum);
}

}  // namespace

/// Leaves absent rows and own candidates kAbsent, for the columns.
void info_nce_row_statistics(const ContrastiveCall& call, int64_t begin, int64_t end) {
  const ContrastiveBlock& block = call.block;
  const InfoNceStatistics &of_rows = call.row_statistics, &of_cols = call.col_statistics;
  const Vec scale = hn::Set(kFloats, call.scale);
  for (int64_t row = begin; row < end; ++row) {
    float* const dots = block.dots + row * block.cols;
    if (is_absent(block, row)) {
      std::fill_n(dots, block.cols, kAbsent);
      continue;
    }
    const int64_t own = own_column(block, row);
    const float own_dot = take_own(block, row, own);
    if (own >= 0) of_rows.own[row] = of_cols.own[own] = own_dot;
    const float before = of_rows.maximum[row];
    Vec largest = hn::Set(kFloats, std::max(before, own_dot));
    for_vectors(block.cols, [&](int64_t i, auto part)
                                HWY_ATTR { largest = hn::Max(largest, absent_beyond(load(dots + i, part), part)); });
    const float maximum = hn::GetLane(hn::MaxOfLanes(kFloats, largest));
    const Vec max_v = hn::Set(kFloats, maximum);
    const double sum = static_cast<double>(sum_vectors(
        block.cols, [&](int64_t i, auto part) HWY_ATTR { return exponential(scale, load(dots + i, part), max_v); }));
    of_rows.others[row] =
        joined(static_cast<double>(of_rows.others[row]), before, static_cast<double>(call.scale), maximum, sum);
    of_rows.maximum[row] = maximum;
  }
}

/// After all rows. Goes through the rows with a few columns at a time, whose sums stay in the cache.
void info_nce_col_statistics(const ContrastiveCall& call, int64_t begin, int64_t end) {
  constexpr int64_t kColumns = 1024;
  const ContrastiveBlock& block = call.block;
  const InfoNceStatistics& of_cols = call.col_statistics;
  const Vec scale = hn::Set(kFloats, call.scale);
  HWY_ALIGN float largest[kColumns];
  HWY_ALIGN float sums[kColumns];
  for (int64_t first = begin; first < end; first += kColumns) {
    const int64_t count = std::min(kColumns, end - first);
    for (int64_t j = 0; j < count; ++j) largest[j] = std::max(of_cols.maximum[first + j], of_cols.own[first + j]);
    std::fill_n(sums, count, 0.0f);
    for (int64_t row = 0; row < block.rows; ++row) {
      const float* const dots = block.dots + row * block.cols + first;
      for_vectors(count, [&](int64_t j, auto part) HWY_ATTR {
        store(hn::Max(load(largest + j, part), load(dots + j, part)), largest + j, part);
      });
    }
    for (int64_t row = 0; row < block.rows; ++row) {
      const float* const dots = block.dots + row * block.cols + first;
      for_vectors(count, [&](int64_t j, auto part) HWY_ATTR {
        const Vec term = exponential(scale, load(dots + j, part), load(largest + j, part));
        store(hn::Add(load(sums + j, part), term), sums + j, part);
      });
    }
    for (int64_t j = 0; j < count; ++j) {
      const int64_t col = first + j;
      of_cols.others[col] = joined(static_cast<double>(of_cols.others[col]), of_cols.maximum[col],
                                   static_cast<double>(call.scale), largest[j], static_cast<double>(sums[j]));
      of_cols.maximum[col] = largest[j];
    }
  }
}

void info_nce_gradient_rows(const ContrastiveCall& call, int64_t begin, int64_t end, ContrastiveRow* results) {
  const ContrastiveBlock& block = call.block;
  const InfoNceSoftmax &of_rows = call.row_softmax, &of_cols = call.col_softmax;
  const Vec scale = hn::Set(kFloats, call.scale);
  const double full_scale = call.weight * static_cast<double>(call.scale);
  const Vec gradient_scale = hn::Set(kFloats, static_cast<float>(full_scale));
  gradient_rows(block, begin, end, results, [&](int64_t row, float* dots, int64_t own, double own_dot) HWY_ATTR {
    const Vec row_maximum = hn::Set(kFloats, of_rows.maximum[row]);
    const Vec row_inverse = hn::Set(kFloats, of_rows.inverse_sum[row]);
    Vec sum = hn::Zero(kFloats), magnitude = sum;
    for_vectors(block.cols, [&](int64_t j, auto part) HWY_ATTR {
      const Vec dot = load(dots + j, part);
      const Vec of_row = hn::Mul(exponential(scale, dot, row_maximum), row_inverse);
      const Vec of_col =
          hn::Mul(exponential(scale, dot, load(of_cols.maximum + j, part)), load(of_cols.inverse_sum + j, part));
      const Vec probabilities = hn::Add(of_row, of_col);
      const Vec term = hn::Mul(probabilities, dot);  // 0 beyond the row's end
      sum = hn::Add(sum, term);
      magnitude = hn::Add(magnitude, hn::Abs(term));
      store(hn::Mul(gradient_scale, probabilities), dots + j, part);
    });
    ContrastiveRow result{};
    result.dscale = static_cast<double>(sum_lanes(sum));
    result.dscale_magnitude = static_cast<double>(sum_lanes(magnitude));
    if (own >= 0) {
      const double gradient = static_cast<double>(of_rows.own[row]) + static_cast<double>(of_cols.own[own]);
      dots[own] = static_cast<float>(full_scale * gradient);
      result.dscale += gradient * own_dot;
      result.dscale_magnitude += std::abs(gradient * own_dot);
    }
    return result;
  });
}

void sigmoid_rows(const ContrastiveCall& call, int64_t begin, int64_t end, ContrastiveRow* results) {
  const ContrastiveBlock& block = call.block;
  const Vec scale = hn::Set(kFloats, call.scale), bias = hn::Set(kFloats, call.bias);
  const Vec zero = hn::Zero(kFloats), one = hn::Set(kFloats, 1.0f);
  const double full_scale = call.weight * static_cast<double>(call.scale);
  const Vec gradient_scale = hn::Set(kFloats, static_cast<float>(full_scale));
  gradient_rows(block, begin, end, results, [&](int64_t, float* dots, int64_t own, double own_dot) HWY_ATTR {
    Vec loss = zero, dscale = zero, dscale_magnitude = zero, dbias = zero;
    for_vectors(block.cols, [&](int64_t j, auto part) HWY_ATTR {
      const Vec dot = load(dots + j, part);
      const Vec logit = hn::MulAdd(scale, dot, bias);
      const Vec e = hn::Exp(kFloats, hn::Neg(hn::Abs(logit)));
      const Vec softplus = hn::Add(hn::Max(logit, zero), hn::Log1p(kFloats, e));
      const Vec sigmoid = hn::Div(hn::IfThenElse(hn::Lt(logit, zero), e, one), hn::Add(one, e));
      const Vec term = hn::Mul(sigmoid, dot);  // 0 beyond the row's end
      loss = hn::Add(loss, only(softplus, part));
      dscale = hn::Add(dscale, term);
      dscale_magnitude = hn::Add(dscale_magnitude, hn::Abs(term));
      dbias = hn::Add(dbias, only(sigmoid, part));
      store(hn::Mul(gradient_scale, sigmoid), dots + j, part);
    });
    ContrastiveRow result{};
    result.loss = static_cast<double>(sum_lanes(loss));
    result.dscale = static_cast<double>(sum_lanes(dscale));
    result.dscale_magnitude = static_cast<double>(sum_lanes(dscale_magnitude));
    result.dbias = result.dbias_magnitude = static_cast<double>(sum_lanes(dbias));
    if (own >= 0) {
      const double logit = static_cast<double>(call.scale) * own_dot + static_cast<double>(call.bias);
      const double e = std::exp(-std::abs(logit));
      const double gradient = -(logit < 0.0 ? 1.0 : e) / (1.0 + e);  // -sigmoid(-logit)
      result.loss += std::max(-logit, 0.0) + std::log1p(e);
      result.dscale += gradient * own_dot;
      result.dscale_magnitude += std::abs(gradient * own_dot);
      result.dbias += gradient;
      result.dbias_magnitude += std::abs(gradient);
      dots[own] = static_cast<float>(full_scale * gradient);
    }
    return result;
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(info_nce_row_statistics);
HWY_EXPORT(info_nce_col_statistics);
HWY_EXPORT(info_nce_gradient_rows);
HWY_EXPORT(sigmoid_rows);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

namespace {

float scale_of(const float* log_scale) {
  return static_cast<float>(std::exp(static_cast<double>(*log_scale)));
}

double row_weight(const ContrastiveTerms& terms) {
  if (terms.num_pairs == nullptr) return terms.coefficient;
  return *terms.num_pairs < kFewestPairs ? 0.0 : terms.coefficient / *terms.num_pairs;
}

ContrastiveCall call_of(const ContrastiveBlock& block, const ContrastiveTerms& terms) {
  check_own(block);
  return {.block = block,
          .scale = scale_of(terms.log_scale),
          .bias = terms.bias == nullptr ? 0.0f : *terms.bias,
          .weight = row_weight(terms),
          .row_statistics = {},
          .col_statistics = {},
          .row_softmax = {},
          .col_softmax = {}};
}

/// Calls evaluate_rows(begin, end, results), and adds up in the order of the rows, so that threads do not matter.
template <typename EvaluateRows>
void evaluate_block(Stream& stream, const ContrastiveCall& call, ContrastiveSums& sums,
                    const EvaluateRows& evaluate_rows) {
  const int64_t num_rows = call.block.rows;
  auto* const rows =
      reinterpret_cast<ContrastiveRow*>(stream.scratch(static_cast<std::size_t>(num_rows) * sizeof(ContrastiveRow)));
  parallel_ranges(stream, num_rows, grain_rows(4 * call.block.cols),
                  [&](int64_t begin, int64_t end) { evaluate_rows(begin, end, rows); });
  ContrastiveRow total{};
  for (int64_t row = 0; row < num_rows; ++row) {
    total.loss += rows[row].loss;
    total.dscale += rows[row].dscale;
    total.dscale_magnitude += rows[row].dscale_magnitude;
    total.dbias += rows[row].dbias;
    total.dbias_magnitude += rows[row].dbias_magnitude;
  }
  const double scale = static_cast<double>(call.scale), size = std::abs(call.weight);
  sums.loss += call.weight * total.loss;
  sums.dlog_scale += call.weight * scale * total.dscale;
  sums.dlog_scale_magnitude += size * scale * total.dscale_magnitude;
  sums.dbias += call.weight * total.dbias;
  sums.dbias_magnitude += size * total.dbias_magnitude;
}

}  // namespace

void info_nce_statistics(Stream& stream, const ContrastiveBlock& block, const ContrastiveTerms& terms,
                         const InfoNceStatistics& of_rows, const InfoNceStatistics& of_cols) {
  if (block.rows <= 0 || block.cols <= 0) return;
  ContrastiveCall call = call_of(block, terms);
  call.row_statistics = of_rows;
  call.col_statistics = of_cols;
  parallel_ranges(stream, block.rows, grain_rows(4 * block.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(info_nce_row_statistics)(call, begin, end);
  });
  parallel_ranges(stream, block.cols, grain_rows(4 * block.rows), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(info_nce_col_statistics)(call, begin, end);
  });
}

void info_nce_rescale(Stream&, const float* log_scale, const InfoNceStatistics& statistics, const float* maximum,
                      int64_t n) {
  const double scale = static_cast<double>(scale_of(log_scale));
  for (int64_t i = 0; i < n; ++i) {
    const double difference = static_cast<double>(statistics.maximum[i]) - static_cast<double>(maximum[i]);
    statistics.others[i] = static_cast<float>(static_cast<double>(statistics.others[i]) * std::exp(scale * difference));
  }
}

void info_nce_softmax(Stream&, const InfoNceSoftmaxArgs& args, const ContrastiveTerms& terms) {
  const double scale = static_cast<double>(scale_of(terms.log_scale));
  double loss = 0;
  for (int64_t i = 0; i < args.n; ++i) {
    if (args.present != nullptr && args.present[i] == 0) {
      args.softmax.maximum[i] = args.softmax.inverse_sum[i] = args.softmax.own[i] = 0.0f;
      continue;
    }
    const auto maximum = static_cast<double>(args.statistics.maximum[i]);
    const auto others = static_cast<double>(args.statistics.others[i]);
    const double own_logit = scale * (static_cast<double>(args.statistics.own[i]) - maximum);
    const double total = others + std::exp(own_logit);
    args.softmax.maximum[i] = static_cast<float>(maximum);
    args.softmax.inverse_sum[i] = static_cast<float>(1.0 / total);
    args.softmax.own[i] = static_cast<float>(-others / total);
    if (i >= args.counted_begin && i - args.counted_begin < args.num_counted) loss += std::log(total) - own_logit;
  }
  terms.sums->loss += row_weight(terms) * loss;
}

void info_nce_gradients(Stream& stream, const ContrastiveBlock& block, const ContrastiveTerms& terms,
                        const InfoNceSoftmax& of_rows, const InfoNceSoftmax& of_cols) {
  if (block.rows <= 0) return;
  ContrastiveCall call = call_of(block, terms);
  call.row_softmax = of_rows;
  call.col_softmax = of_cols;
  evaluate_block(stream, call, *terms.sums, [&](int64_t begin, int64_t end, ContrastiveRow* results) {
    HWY_DYNAMIC_DISPATCH(info_nce_gradient_rows)(call, begin, end, results);
  });
}

void sigmoid_block(Stream& stream, const ContrastiveBlock& block, const ContrastiveTerms& terms) {
  if (block.rows <= 0) return;
  const ContrastiveCall call = call_of(block, terms);
  evaluate_block(stream, call, *terms.sums, [&](int64_t begin, int64_t end, ContrastiveRow* results) {
    HWY_DYNAMIC_DISPATCH(sigmoid_rows)(call, begin, end, results);
  });
}

}  // namespace triptych::kernels
#endif
