#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace triptych::emulator::ptx {

/// The 16-bit formats as bits; arithmetic is done on float or double and rounded once.
struct F16 {
  uint16_t bits = 0;
};
struct BF16 {
  uint16_t bits = 0;
};
struct F16x2 {
  F16 low, high;
};
struct BF16x2 {
  BF16 low, high;
};
/// A float32 register of which the matrix units use sign, exponent and ten bits of the fraction.
struct TF32 {
  uint32_t bits = 0;
};

enum class Rounding : uint8_t { Nearest, Zero, Down, Up };

inline float to_float(BF16 x) {
  return std::bit_cast<float>(uint32_t{x.bits} << 16);
}

inline float to_float(F16 x) {
  const uint32_t sign = uint32_t{x.bits & 0x8000U} << 16, magnitude = uint32_t{x.bits & 0x7FFFU} << 13;
  if ((x.bits & 0x7C00) == 0x7C00) return std::bit_cast<float>(sign | magnitude | 0x7F800000);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112F) | sign);
}

inline float to_float(TF32 x) {
  return std::bit_cast<float>(x.bits & 0xFFFFE000U);
}

/// What a float format can hold.
struct FloatFormat {
  int precision;     ///< bits of the significand, the leading one included
  int min_exponent;  ///< of the smallest normal number
  double largest;
};
inline constexpr FloatFormat kF16Format{11, -14, 65504.0}, kBF16Format{8, -126, 0x1.FEp127},
    kTF32Format{11, -126, 0x1.FFCp127}, kF32Format{24, -126, 0x1.FFFFFEp127};

/// `x` rounded to a format: as the double of equal value, infinite where it overflows. NaN stays.
double round_to(double x, const FloatFormat& format, Rounding rounding);

/// a * b + c, of which the last bit is set to one if the result is not exact ("round to odd"): rounded again to a
/// format of at most 51 bits it gives what rounding the exact value gives. Exact where a * b is, as for factors of 26
/// bits.
double fma_to_odd(double a, double b, double c);

/// The same for narrowing: what a double rounded to odd becomes as float, so that it can be rounded to 16 bits.
inline float to_odd_float(double x) {
  const auto nearest = static_cast<float>(x);
  if (static_cast<double>(nearest) == x || !std::isfinite(nearest)) return nearest;
  auto bits = std::bit_cast<uint32_t>(nearest);
  if (std::fabs(static_cast<double>(nearest)) > std::fabs(x)) --bits;
  return std::bit_cast<float>(bits | 1);
}

F16 to_f16(double x, Rounding rounding = Rounding::Nearest);
BF16 to_bf16(double x, Rounding rounding = Rounding::Nearest);
/// Of a float, to nearest even: what kernels mostly do.
F16 to_f16_nearest(float x);
BF16 to_bf16_nearest(float x);

template <class Half>
Half to_half_nearest(float x);
template <>
inline F16 to_half_nearest<F16>(float x) {
  return to_f16_nearest(x);
}
template <>
inline BF16 to_half_nearest<BF16>(float x) {
  return to_bf16_nearest(x);
}

inline float flush_denormal(float x) {
  return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0F, x) : x;
}

}  // namespace triptych::emulator::ptx
