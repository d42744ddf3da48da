#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/cross_entropy.cpp"
#include "kernels/cpu/online_sum.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void slice_rows(const CrossEntropySlice& slice, const CrossEntropyRows& rows, int64_t begin, int64_t end) {
  with_float_type(slice.dtype, [&](auto type) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row) {
      const auto* logits = static_cast<const decltype(type)*>(slice.logits) + row * slice.cols;
      const int64_t target = slice.targets[row] - slice.class_begin;
      const bool has_target = target >= 0 && target < slice.cols;
      const float target_logit =
          has_target ? static_cast<float>(logits[target]) : -std::numeric_limits<float>::infinity();
      OnlineSum others{std::max(kLowest, target_logit), 0.0f};
      if (has_target) {
        others.add(logits, target);
        others.add(logits + target + 1, slice.cols - target - 1);
      } else if (slice.targets[row] >= 0) {
        others.add(logits, slice.cols);
      }
      rows.maximum[row] = others.maximum;
      rows.target_logit[row] = target_logit;
      rows.others[row] = others.sum;
      if (rows.below == nullptr) continue;
      const Vec max_v = hn::Set(kFloats, others.maximum);
      const int64_t cols = slice.targets[row] < 0 ? 0 : slice.cols;
      rows.below[row] =
          sum_vectors(cols, [&](int64_t i, auto part) HWY_ATTR { return hn::Sub(max_v, load(logits + i, part)); });
    }
  });
}

/// `scale` is what softmax - target weights is multiplied by.
void backward_rows(const CrossEntropySlice& slice, const CrossEntropyRows& rows, double scale,
                   const LabelSmoothing& smoothing, void* dlogits, int64_t begin, int64_t end) {
  const bool smooth = smoothing.amount > 0;
  const double share = smooth ? scale * smoothing.amount / static_cast<double>(smoothing.num_classes) : 0;
  const Vec share_v = hn::Set(kFloats, static_cast<float>(share));
  with_float_type(slice.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row) {
      const T* logits = static_cast<const T*>(slice.logits) + row * slice.cols;
      T* out = static_cast<T*>(dlogits) + row * slice.cols;
      if (slice.targets[row] < 0) {
        std::fill(out, out + slice.cols, T{});
        continue;
      }
      const auto others = static_cast<double>(rows.others[row]);
      const double total = others + std::exp(static_cast<double>(rows.target_logit[row] - rows.maximum[row]));
      const Vec max_v = hn::Set(kFloats, rows.maximum[row]);
      const Vec factor = hn::Set(kFloats, static_cast<float>(scale / total));
      for_vectors(slice.cols, [&](int64_t i, auto part) HWY_ATTR {
        const Vec softmax = hn::Mul(factor, exp_or_nan(hn::Sub(load(logits + i, part), max_v)));
        store(hn::Sub(softmax, share_v), out + i, part);
      });
      const int64_t target = slice.targets[row] - slice.class_begin;
      if (target < 0 || target >= slice.cols) continue;
      double own = -scale * others / total;
      if (smooth) own += scale * smoothing.amount - share;
      out[target] = T(static_cast<float>(own));
    }
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(slice_rows);
HWY_EXPORT(backward_rows);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void cross_entropy_rows(Stream& stream, const CrossEntropySlice& slice, const CrossEntropyRows& rows) {
  check_float_dtype(slice.dtype, "cross_entropy_rows");
  parallel_ranges(stream, slice.rows, grain_rows(slice.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(slice_rows)(slice, rows, begin, end);
  });
}

void cross_entropy_rescale(Stream&, const CrossEntropySlice& slice, const CrossEntropyRows& rows,
                           const float* maximum) {
  for (int64_t row = 0; row < slice.rows; ++row) {
    const float d = rows.maximum[row] - maximum[row];
    rows.others[row] *= std::exp(d);
    if (rows.below != nullptr && slice.cols > 0) rows.below[row] -= static_cast<float>(slice.cols) * d;
  }
}

void cross_entropy_loss(Stream&, const int32_t* targets, const CrossEntropyRows& rows, int64_t num_rows,
                        double coefficient, double* loss, const LabelSmoothing& smoothing) {
  const double share = smoothing.amount / static_cast<double>(smoothing.num_classes);
  double sum = 0.0;
  for (int64_t row = 0; row < num_rows; ++row) {
    if (targets[row] < 0) continue;
    // log(others + exp(d)) - d, where others may be tiny beside exp(0)
    const float d = rows.target_logit[row] - rows.maximum[row];
    const float log_total = std::log1p(rows.others[row] + std::expm1(d));
    if (smoothing.amount > 0) {
      // All three are positive, so nothing cancels.
      sum += log_total - (1 - smoothing.amount) * d + share * rows.below[row];
    } else {
      sum += static_cast<double>(log_total - d);
    }
  }
  *loss += coefficient * sum;
}

void cross_entropy_backward(Stream& stream, const CrossEntropySlice& slice, const CrossEntropyRows& rows,
                            double coefficient, const double* dloss, void* dlogits, const LabelSmoothing& smoothing) {
  check_float_dtype(slice.dtype, "cross_entropy_backward");
  const double scale = coefficient * *dloss;
  parallel_ranges(stream, slice.rows, grain_rows(slice.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(backward_rows)(slice, rows, scale, smoothing, dlogits, begin, end);
  });
}

}  // namespace triptych::kernels
#endif
