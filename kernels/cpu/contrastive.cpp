#include "kernels/contrastive.h"

#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"

#ifndef TRIPTYCH_CONTRASTIVE_ROW
#define TRIPTYCH_CONTRASTIVE_ROW
namespace triptych::cpu {

/// What one row adds to the sums.
struct ContrastiveRow {
  double loss, dscale, dscale_magnitude, dbias, dbias_magnitude;
};

}  // namespace triptych::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/contrastive.cpp"
// simd.h chooses the targets, so it comes before any header of Highway.
// clang-format off
#include "kernels/cpu/simd.h"
#include <hwy/contrib/math/math-inl.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace triptych::cpu::HWY_NAMESPACE {

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

}  // namespace

void info_nce_rows(const InfoNceBlockArgs& args, int64_t begin, int64_t end, ContrastiveRow* results) {
  const Vec scale = hn::Set(kFloats, args.scale);
  for (int64_t row = begin; row < end; ++row) {
    float* dots = args.dots + row * args.cols;
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
    const double label_logit = static_cast<double>(args.scale) * (label_dot - static_cast<double>(max_dot));
    const double total = others + std::exp(label_logit);
    const Vec inv_total = hn::Set(kFloats, static_cast<float>(1.0 / total));
    const Vec gradient_scale = hn::Set(kFloats, static_cast<float>(args.coefficient * static_cast<double>(args.scale)));
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
    dots[label] = static_cast<float>(args.coefficient * static_cast<double>(args.scale) * label_gradient);
    results[row] = {std::log(total) - label_logit, sum + label_gradient * label_dot,
                    magnitude + std::abs(label_gradient * label_dot), 0.0, 0.0};
  }
}

void sigmoid_rows(const SigmoidBlockArgs& args, int64_t begin, int64_t end, ContrastiveRow* results) {
  const Vec scale = hn::Set(kFloats, args.scale), bias = hn::Set(kFloats, args.bias);
  const Vec zero = hn::Zero(kFloats), one = hn::Set(kFloats, 1.0f);
  const double full_scale = args.coefficient * static_cast<double>(args.scale);
  const Vec gradient_scale = hn::Set(kFloats, static_cast<float>(full_scale));
  for (int64_t row = begin; row < end; ++row) {
    float* dots = args.dots + row * args.cols;
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
      const double logit = static_cast<double>(args.scale) * dot + static_cast<double>(args.bias);
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

}  // namespace triptych::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::cpu {
HWY_EXPORT(info_nce_rows);
HWY_EXPORT(sigmoid_rows);
}  // namespace triptych::cpu

namespace triptych {

using namespace cpu;

namespace {

/// In the order of the rows, so that threads do not matter.
void add_rows(const ContrastiveRow* rows, int64_t num_rows, double coefficient, const ContrastiveSums& sums) {
  ContrastiveRow total{};
  for (int64_t row = 0; row < num_rows; ++row) {
    total.loss += rows[row].loss;
    total.dscale += rows[row].dscale;
    total.dscale_magnitude += rows[row].dscale_magnitude;
    total.dbias += rows[row].dbias;
    total.dbias_magnitude += rows[row].dbias_magnitude;
  }
  *sums.loss += total.loss;
  *sums.dscale += coefficient * total.dscale;
  if (sums.dscale_magnitude != nullptr) *sums.dscale_magnitude += std::abs(coefficient) * total.dscale_magnitude;
  if (sums.dbias != nullptr) *sums.dbias += coefficient * total.dbias;
  if (sums.dbias_magnitude != nullptr) *sums.dbias_magnitude += std::abs(coefficient) * total.dbias_magnitude;
}

ContrastiveRow* row_scratch(Stream& stream, int64_t rows) {
  return reinterpret_cast<ContrastiveRow*>(stream.scratch(static_cast<std::size_t>(rows) * sizeof(ContrastiveRow)));
}

}  // namespace

void info_nce_block(Stream& stream, const InfoNceBlockArgs& args) {
  if (args.rows <= 0) return;
  TRIPTYCH_CHECK(args.label_begin >= 0 && args.label_begin + args.rows <= args.cols,
                 "Every row's label is a column, found labels [{}, {}) of {} columns.", args.label_begin,
                 args.label_begin + args.rows, args.cols);
  TRIPTYCH_CHECK(!(args.scale <= 0.0f), "InfoNCE needs a positive scale, found {}.", args.scale);
  ContrastiveRow* rows = row_scratch(stream, args.rows);
  parallel_ranges(stream, args.rows, grain_rows(4 * args.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(info_nce_rows)(args, begin, end, rows);
  });
  add_rows(rows, args.rows, args.coefficient, args.sums);
}

void sigmoid_block(Stream& stream, const SigmoidBlockArgs& args) {
  if (args.rows <= 0) return;
  ContrastiveRow* rows = row_scratch(stream, args.rows);
  parallel_ranges(stream, args.rows, grain_rows(4 * args.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(sigmoid_rows)(args, begin, end, rows);
  });
  add_rows(rows, args.rows, args.coefficient, args.sums);
}

}  // namespace triptych
#endif
