// The normal distribution function, vectorised. Included once for every target, like simd.h.

// simd.h chooses the targets, so it comes before any header of Highway.
// clang-format off
#include "kernels/cpu/simd.h"
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#if defined(TRIPTYCH_KERNELS_CPU_NORMAL_DISTRIBUTION_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIPTYCH_KERNELS_CPU_NORMAL_DISTRIBUTION_H
#undef TRIPTYCH_KERNELS_CPU_NORMAL_DISTRIBUTION_H
#else
#define TRIPTYCH_KERNELS_CPU_NORMAL_DISTRIBUTION_H
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::cpu::HWY_NAMESPACE {

struct NormalDistribution {
  Vec cumulative;  ///< Phi(x) = (1 + erf(x / sqrt 2)) / 2
  Vec density;     ///< phi(x) = exp(-x^2 / 2) / sqrt(2 pi)
};

/// The upper tail is exp(-x^2 / 2) * P(t) with t = 1 / (1 + 0.29 |x|) (the form of Abramowitz and Stegun 7.1.26), P of
/// degree 8 fitted for the least maximum error: 1.3e-9, so what is left is float32's rounding, and the lower tail keeps
/// its relative precision, which 1 + erf would cancel. The exponential serves both functions.
HWY_INLINE NormalDistribution normal_distribution(Vec x) {
  const Vec one = hn::Set(kFloats, 1.0f);
  const Vec magnitude = hn::Abs(x);
  const Vec t = hn::Div(one, hn::MulAdd(hn::Set(kFloats, 0.29f), magnitude, one));
  Vec p = hn::Set(kFloats, 0.03717375381540624f);
  for (const float c : {-0.1815882142268222f, 0.2812789927696466f, -0.12100810120161787f, 0.16376122673292243f,
                        0.086492368157111f, 0.11834542132699963f, 0.11554455186534988f}) {
    p = hn::MulAdd(p, t, hn::Set(kFloats, c));
  }
  const Vec gauss = hn::Exp(kFloats, hn::Mul(hn::Mul(x, x), hn::Set(kFloats, -0.5f)));
  const Vec tail = hn::Mul(gauss, hn::Mul(p, t));
  return {hn::IfThenElse(hn::Lt(x, hn::Zero(kFloats)), tail, hn::Sub(one, tail)),
          hn::Mul(gauss, hn::Set(kFloats, 0.398942280401432678f))};
}

}  // namespace triptych::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // Highway's guard
