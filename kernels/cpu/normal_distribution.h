// The normal distribution function, vectorised. Included once for every target, like simd.h.

#include "kernels/cpu/simd.h"

#if defined(TRIPTYCH_KERNELS_CPU_NORMAL_DISTRIBUTION_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIPTYCH_KERNELS_CPU_NORMAL_DISTRIBUTION_H
#undef TRIPTYCH_KERNELS_CPU_NORMAL_DISTRIBUTION_H
#else
#define TRIPTYCH_KERNELS_CPU_NORMAL_DISTRIBUTION_H
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

struct NormalDistribution {
  Vec cumulative;  ///< Phi(x) = (1 + erf(x / sqrt 2)) / 2
  Vec density;     ///< phi(x) = exp(-x^2 / 2) / sqrt(2 pi)
};

/// exp(-square / 2) for square >= 0, with what is below 2^-126 taken as that. A NaN stays one.
HWY_INLINE Vec gauss_of_square(Vec square) {
  const hn::RebindToSigned<Floats> integers;
  // To base 2: exponent = whole + f, |f| <= 1/2. Adding 1.5 * 2^23 rounds to a whole number, left in the low bits.
  const Vec to_base_2 = hn::Set(kFloats, -0.72134752044448170368f);
  const Vec largest = hn::Set(kFloats, 174.673f);  // 126 / 0.7213
  const Vec clamped = hn::IfThenElse(hn::Gt(square, largest), largest, square);
  const Vec magic = hn::Set(kFloats, 0x1.8p23f);
  const Vec shifted = hn::MulAdd(clamped, to_base_2, magic);
  const Vec f = hn::MulSub(clamped, to_base_2, hn::Sub(shifted, magic));
  // Taylor's series of 2^f: the first term left out is at most (ln 2 / 2)^7 / 7! = 1.2e-7.
  Vec y = hn::Set(kFloats, 1.540353039338161e-4f);
  for (const float c : {1.333355814642844e-3f, 9.618129107628477e-3f, 5.550410866482158e-2f, 2.402265069591007e-1f,
                        6.931471805599453e-1f, 1.0f}) {
    y = hn::MulAdd(y, f, hn::Set(kFloats, c));
  }
  // Times 2^whole: y is in [0.7, 1.5), so its exponent takes the sum.
  const auto power = hn::ShiftLeft<23>(hn::BitCast(integers, shifted));
  return hn::BitCast(kFloats, hn::Add(hn::BitCast(integers, y), power));
}

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
  const Vec gauss = gauss_of_square(hn::Mul(x, x));
  const Vec tail = hn::Mul(gauss, hn::Mul(p, t));
  return {hn::IfThenElse(hn::Lt(x, hn::Zero(kFloats)), tail, hn::Sub(one, tail)),
          hn::Mul(gauss, hn::Set(kFloats, 0.398942280401432678f))};
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // Highway's guard
