// Products of float32 vectors, summed in double. Included once for every target, like simd.h.

#include "kernels/cpu/simd.h"

#if defined(TRIPTYCH_KERNELS_CPU_DOT_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIPTYCH_KERNELS_CPU_DOT_H
#undef TRIPTYCH_KERNELS_CPU_DOT_H
#else
#define TRIPTYCH_KERNELS_CPU_DOT_H
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

HWY_INLINE double dot_in_double(const float* a, const float* b, int64_t n) {
  const hn::ScalableTag<double> doubles;
  const hn::Rebind<float, decltype(doubles)> floats;
  const auto lanes = static_cast<int64_t>(hn::Lanes(doubles));
  auto s0 = hn::Zero(doubles), s1 = s0, s2 = s0, s3 = s0;
  const auto multiply_add = [&](int64_t i, auto sum) HWY_ATTR {
    return hn::MulAdd(hn::PromoteTo(doubles, hn::LoadU(floats, a + i)),
                      hn::PromoteTo(doubles, hn::LoadU(floats, b + i)), sum);
  };
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    s0 = multiply_add(i, s0);
    s1 = multiply_add(i + lanes, s1);
    s2 = multiply_add(i + 2 * lanes, s2);
    s3 = multiply_add(i + 3 * lanes, s3);
  }
  for (; i + lanes <= n; i += lanes) s0 = multiply_add(i, s0);
  double sum = hn::GetLane(hn::SumOfLanes(doubles, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
  for (; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // Highway's guard
