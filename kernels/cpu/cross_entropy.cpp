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
namespace triptych::cpu::HWY_NAMESPACE {

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
    }
  });
}

/// `scale` is what softmax - onehot is multiplied by.
void backward_rows(const CrossEntropySlice& slice, const CrossEntropyRows& rows, double scale, void* dlogits,
                   int64_t begin, int64_t end) {
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
        store(hn::Mul(factor, exp_or_nan(hn::Sub(load(logits + i, part), max_v))), out + i, part);
      });
      const int64_t target = slice.targets[row] - slice.class_begin;
      if (target >= 0 && target < slice.cols) out[target] = T(static_cast<float>(-scale * others / total));
    }
  });
}

}  // namespace triptych::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::cpu {
HWY_EXPORT(slice_rows);
HWY_EXPORT(backward_rows);
}  // namespace triptych::cpu

namespace triptych {

using namespace cpu;

void cross_entropy_rows(Stream& stream, const CrossEntropySlice& slice, const CrossEntropyRows& rows) {
  check_float_dtype(slice.dtype, "cross_entropy_rows");
  parallel_ranges(stream, slice.rows, grain_rows(slice.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(slice_rows)(slice, rows, begin, end);
  });
}

void cross_entropy_rescale(Stream&, const float* slice_maximum, const float* maximum, float* others, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) others[row] *= std::exp(slice_maximum[row] - maximum[row]);
}

void cross_entropy_loss(Stream&, const int32_t* targets, const CrossEntropyRows& rows, int64_t num_rows,
                        double coefficient, double* loss) {
  double sum = 0.0;
  for (int64_t row = 0; row < num_rows; ++row) {
    if (targets[row] < 0) continue;
    // log(others + exp(d)) - d, where others may be tiny beside exp(0)
    const float d = rows.target_logit[row] - rows.maximum[row];
    sum += static_cast<double>(std::log1p(rows.others[row] + std::expm1(d)) - d);
  }
  *loss += coefficient * sum;
}

void cross_entropy_backward(Stream& stream, const CrossEntropySlice& slice, const CrossEntropyRows& rows,
                            double coefficient, const double* dloss, void* dlogits) {
  check_float_dtype(slice.dtype, "cross_entropy_backward");
  const double scale = coefficient * *dloss;
  parallel_ranges(stream, slice.rows, grain_rows(slice.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(backward_rows)(slice, rows, scale, dlogits, begin, end);
  });
}

}  // namespace triptych
#endif
