#include "kernels/contrastive.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"

#ifndef TRIPTYCH_CONTRASTIVE_ROW
#define TRIPTYCH_CONTRASTIVE_ROW
namespace triptych::kernels::cpu {

/// What one row adds to the sums, before the coefficient and the scale.
struct ContrastiveRow {
  double loss, dscale, dscale_magnitude, dbias, dbias_magnitude;
};

/// A call, with the values that it points to; the coefficient is a row's weight.
struct ContrastiveCall {
  ContrastiveBlockArgs args;
  float scale, bias;
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

/// Calls f(begin, end) for the columns before and after the label's. Its own term is a difference of near numbers where
/// the others are not, so it is computed apart, in double.
template <typename F>
HWY_INLINE void for_other_columns(int64_t cols, int64_t label, const F& f) {
  if (label < 0 || label >= cols) {
    f(int64_t{0}, cols);
  } else {
    f(int64_t{0}, label);
    f(label + 1, cols);
  }
}

/// What an absent candidate's dot product becomes: any scale makes of it a logit whose exponential, sigmoid and
/// softplus are exactly 0, and whose product with them is 0.
constexpr float kAbsent = std::numeric_limits<float>::lowest();

/// The row's dot products, those of absent candidates made kAbsent; null, and zeros there, if the row is absent.
inline float* present_dots(const ContrastiveBlockArgs& args, int64_t row) {
  float* const dots = args.dots + row * args.cols;
  if (args.row_present != nullptr && args.row_present[row] == 0) {
    std::fill_n(dots, args.cols, 0.0f);
    return nullptr;
  }
  if (args.col_present != nullptr) {
    for (int64_t j = 0; j < args.cols; ++j) dots[j] = args.col_present[j] != 0 ? dots[j] : kAbsent;
  }
  return dots;
}

}  // namespace

void info_nce_rows(const ContrastiveCall& call, int64_t begin, int64_t end, ContrastiveRow* results) {
  const ContrastiveBlockArgs& args = call.args;
  const Vec scale = hn::Set(kFloats, call.scale);
  for (int64_t row = begin; row < end; ++row) {
    float* dots = present_dots(args, row);
    results[row] = {};
    if (dots == nullptr) continue;
    const int64_t label = args.label_begin + row;
    Vec largest = hn::Set(kFloats, dots[label]);
    for_vectors(args.cols, [&](int64_t i, auto part) HWY_ATTR {
      // The lanes beyond the row are zeros: take the label's value there instead.
      const Vec v = load(dots + i, part);
      largest = hn::Max(largest,
                        hn::Add(only(hn::Sub(v, hn::Set(kFloats, dots[label])), part), hn::Set(kFloats, dots[label])));
    });
    const float max_dot = hn::GetLane(hn::MaxOfLanes(kFloats, largest));
    const Vec max_v = hn::Set(kFloats, max_dot);
    // scale * (dot - max) rather than scale * dot - scale * max: the difference of near numbers is exact.
    const auto weight = [&](Vec dot) HWY_ATTR { return hn::Exp(kFloats, hn::Mul(scale, hn::Sub(dot, max_v))); };
    double others = 0.0;
    for_other_columns(args.cols, label, [&](int64_t first, int64_t last) HWY_ATTR {
      others += static_cast<double>(sum_vectors(
          last - first, [&](int64_t i, auto part) HWY_ATTR { return weight(load(dots + first + i, part)); }));
    });
    const double label_dot = static_cast<double>(dots[label]);
    const double label_logit = static_cast<double>(call.scale) * (label_dot - static_cast<double>(max_dot));
    const double total = others + std::exp(label_logit);
    const Vec inv_total = hn::Set(kFloats, static_cast<float>(1.0 / total));
    const Vec gradient_scale = hn::Set(kFloats, static_cast<float>(args.coefficient * static_cast<double>(call.scale)));
    double sum = 0.0, magnitude = 0.0;
    for_other_columns(args.cols, label, [&](int64_t first, int64_t last) HWY_ATTR {
      Vec part_sum = hn::Zero(kFloats), part_magnitude = part_sum;
      for_vectors(last - first, [&](int64_t j, auto part) HWY_ATTR {
        float* p = dots + first + j;
        const Vec dot = load(p, part);
        const Vec probability = hn::Mul(weight(dot), inv_total);
        const Vec term = hn::Mul(probability, dot);  // 0 beyond the row's end
        part_sum = hn::Add(part_sum, term);
        part_magnitude = hn::Add(part_magnitude, hn::Abs(term));
        store(hn::Mul(gradient_scale, probability), p, part);
      });
      sum += static_cast<double>(sum_lanes(part_sum));
      magnitude += static_cast<double>(sum_lanes(part_magnitude));
    });
    const double label_gradient = -others / total;  // softmax - 1
    dots[label] = static_cast<float>(args.coefficient * static_cast<double>(call.scale) * label_gradient);
    results[row] = {std::log(total) - label_logit, sum + label_gradient * label_dot,
                    magnitude + std::abs(label_gradient * label_dot), 0.0, 0.0};
  }
}

void sigmoid_rows(const ContrastiveCall& call, int64_t begin, int64_t end, ContrastiveRow* results) {
  const ContrastiveBlockArgs& args = call.args;
  const Vec scale = hn::Set(kFloats, call.scale), bias = hn::Set(kFloats, call.bias);
  const Vec zero = hn::Zero(kFloats), one = hn::Set(kFloats, 1.0f);
  const double full_scale = args.coefficient * static_cast<double>(call.scale);
  const Vec gradient_scale = hn::Set(kFloats, static_cast<float>(full_scale));
  for (int64_t row = begin; row < end; ++row) {
    float* dots = present_dots(args, row);
    results[row] = {};
    if (dots == nullptr) continue;
    const int64_t label = args.label_begin + row;
    ContrastiveRow result{};
    for_other_columns(args.cols, label, [&](int64_t first, int64_t last) HWY_ATTR {
      Vec loss = zero, dscale = zero, dscale_magnitude = zero, dbias = zero;
      for_vectors(last - first, [&](int64_t j, auto part) HWY_ATTR {
        float* p = dots + first + j;
        const Vec dot = load(p, part);
        const Vec logit = hn::MulAdd(scale, dot, bias);
        const Vec e = hn::Exp(kFloats, hn::Neg(hn::Abs(logit)));
        const Vec softplus = hn::Add(hn::Max(logit, zero), hn::Log1p(kFloats, e));
        const Vec sigmoid = hn::Div(hn::IfThenElse(hn::Lt(logit, zero), e, one), hn::Add(one, e));
        const Vec term = hn::Mul(sigmoid, dot);  // 0 beyond the row's end
        loss = hn::Add(loss, only(softplus, part));
        dscale = hn::Add(dscale, term);
        dscale_magnitude = hn::Add(dscale_magnitude, hn::Abs(term));
        dbias = hn::Add(dbias, only(sigmoid, part));
        store(hn::Mul(gradient_scale, sigmoid), p, part);
      });
      result.loss += static_cast<double>(sum_lanes(loss));
      result.dscale += static_cast<double>(sum_lanes(dscale));
      result.dscale_magnitude += static_cast<double>(sum_lanes(dscale_magnitude));
      result.dbias += static_cast<double>(sum_lanes(dbias));
    });
    result.dbias_magnitude = result.dbias;
    if (label >= 0 && label < args.cols) {
      const double dot = static_cast<double>(dots[label]);
      const double logit = static_cast<double>(call.scale) * dot + static_cast<double>(call.bias);
      const double e = std::exp(-std::abs(logit));
      const double gradient = -(logit < 0.0 ? 1.0 : e) / (1.0 + e);  // -sigmoid(-logit)
      result.loss += std::max(-logit, 0.0) + std::log1p(e);
      result.dscale += gradient * dot;
      result.dscale_magnitude += std::abs(gradient * dot);
      result.dbias += gradient;
      result.dbias_magnitude += std::abs(gradient);
      dots[label] = static_cast<float>(full_scale * gradient);
    }
    results[row] = result;
  }
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(info_nce_rows);
HWY_EXPORT(sigmoid_rows);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

namespace {

double row_weight(const ContrastiveBlockArgs& args) {
  if (args.num_pairs == nullptr) return args.coefficient;
  return *args.num_pairs < kFewestPairs ? 0.0 : args.coefficient / *args.num_pairs;
}

/// Calls evaluate_rows(call, begin, end, results), and adds up in the order of the rows, so that threads do not matter.
template <typename EvaluateRows>
void evaluate_block(Stream& stream, ContrastiveBlockArgs args, float bias, const EvaluateRows& evaluate_rows) {
  args.coefficient = row_weight(args);
  const ContrastiveCall call{args, static_cast<float>(std::exp(static_cast<double>(*args.log_scale))), bias};
  auto* const rows =
      reinterpret_cast<ContrastiveRow*>(stream.scratch(static_cast<std::size_t>(args.rows) * sizeof(ContrastiveRow)));
  parallel_ranges(stream, args.rows, grain_rows(4 * args.cols),
                  [&](int64_t begin, int64_t end) { evaluate_rows(call, begin, end, rows); });
  ContrastiveRow total{};
  for (int64_t row = 0; row < args.rows; ++row) {
    total.loss += rows[row].loss;
    total.dscale += rows[row].dscale;
    total.dscale_magnitude += rows[row].dscale_magnitude;
    total.dbias += rows[row].dbias;
    total.dbias_magnitude += rows[row].dbias_magnitude;
  }
  const double scale = static_cast<double>(call.scale), size = std::abs(args.coefficient);
  args.sums->loss += args.coefficient * total.loss;
  args.sums->dlog_scale += args.coefficient * scale * total.dscale;
  args.sums->dlog_scale_magnitude += size * scale * total.dscale_magnitude;
  args.sums->dbias += args.coefficient * total.dbias;
  args.sums->dbias_magnitude += size * total.dbias_magnitude;
}

}  // namespace

void info_nce_block(Stream& stream, const ContrastiveBlockArgs& args) {
  if (args.rows <= 0) return;
  TRIPTYCH_CHECK(args.label_begin >= 0 && args.label_begin + args.rows <= args.cols,
                 "Every row's label is a column, found labels [{}, {}) of {} columns.", args.label_begin,
                 args.label_begin + args.rows, args.cols);
  evaluate_block(stream, args, 0.0f,
                 [](const ContrastiveCall& call, int64_t begin, int64_t end, ContrastiveRow* results) {
                   HWY_DYNAMIC_DISPATCH(info_nce_rows)(call, begin, end, results);
                 });
}

void sigmoid_block(Stream& stream, const ContrastiveBlockArgs& args) {
  if (args.rows <= 0) return;
  evaluate_block(stream, args, *args.bias,
                 [](const ContrastiveCall& call, int64_t begin, int64_t end, ContrastiveRow* results) {
                   HWY_DYNAMIC_DISPATCH(sigmoid_rows)(call, begin, end, results);
                 });
}

}  // namespace triptych::kernels
#endif
