// Sums of exponentials over a row, for softmax and its cross-entropy. Included once for every target, like simd.h.

#include <algorithm>
#include <cmath>
#include <limits>

// simd.h chooses the targets, so it comes before any header of Highway.
// clang-format off
#include "kernels/cpu/simd.h"
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#if defined(TRIPTYCH_KERNELS_CPU_ONLINE_SUM_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIPTYCH_KERNELS_CPU_ONLINE_SUM_H
#undef TRIPTYCH_KERNELS_CPU_ONLINE_SUM_H
#else
#define TRIPTYCH_KERNELS_CPU_ONLINE_SUM_H
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

/// The maximum of no logits. Not -inf, so that no difference of maxima is NaN.
inline constexpr float kLowest = std::numeric_limits<float>::lowest();

/// Columns that are gone over twice, for their maximum and for their sum, while they are in the first-level cache.
inline constexpr int64_t kBlockCols = 4096;

/// exp(x), and NaN for NaN, which Highway's takes for very small: a logit that is no number has to show.
HWY_INLINE Vec exp_or_nan(Vec x) {
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(kFloats, x));
}

HWY_INLINE Vec larger(Vec largest, Vec v, Whole) {
  return hn::Max(largest, v);
}
HWY_INLINE Vec larger(Vec largest, Vec v, Part part) {
  return hn::IfThenElse(hn::FirstN(kFloats, static_cast<std::size_t>(part.count)), hn::Max(largest, v), largest);
}

/// A maximum, and the sum of the exponentials of what it is the maximum of, less it.
struct OnlineSum {
  float maximum, sum;

  template <typename T>
  void add(const T* logits, int64_t n) {
    for (int64_t begin = 0; begin < n; begin += kBlockCols) {
      const T* block = logits + begin;
      const int64_t count = std::min(n - begin, kBlockCols);
      Vec largest = hn::Set(kFloats, maximum);
      for_vectors(count,
                  [&](int64_t i, auto part) HWY_ATTR { largest = larger(largest, load(block + i, part), part); });
      const float block_maximum = hn::GetLane(hn::MaxOfLanes(kFloats, largest));
      if (block_maximum > maximum) {
        sum *= std::exp(maximum - block_maximum);
        maximum = block_maximum;
      }
      const Vec max_v = hn::Set(kFloats, maximum);
      sum += sum_vectors(
          count, [&](int64_t i, auto part) HWY_ATTR { return exp_or_nan(hn::Sub(load(block + i, part), max_v)); });
    }
  }
};

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // Highway's guard
