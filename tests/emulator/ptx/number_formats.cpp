#include "emulator/ptx/number_formats.h"

#include <algorithm>

namespace triptych::emulator::ptx {
namespace {

constexpr uint16_t kCanonicalNaN = 0x7FFF;  // of both 16-bit formats, as PTX says

}  // namespace

double round_to(double x, const FloatFormat& format, Rounding rounding) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::max(std::ilogb(x), format.min_exponent) - (format.precision - 1);
  double scaled = std::ldexp(x, -exponent);
  switch (rounding) {
    case Rounding::Nearest:
      scaled = std::nearbyint(scaled);
      break;
    case Rounding::Zero:
      scaled = std::trunc(scaled);
      break;
    case Rounding::Down:
      scaled = std::floor(scaled);
      break;
    case Rounding::Up:
      scaled = std::ceil(scaled);
      break;
  }
  const double rounded = std::copysign(std::ldexp(scaled, exponent), x);
  if (std::fabs(rounded) <= format.largest) return rounded;
  const bool stays_finite = rounding == Rounding::Zero || rounding == (x > 0 ? Rounding::Down : Rounding::Up);
  return std::copysign(stays_finite ? format.largest : std::numeric_limits<double>::infinity(), x);
}

double fma_to_odd(double a, double b, double c) {
  const double product = a * b;
  const double sum = product + c;
  if (!std::isfinite(sum)) return sum;
  // What `sum` lost, exactly (Knuth's two-sum).
  const double virtual_c = sum - product;
  const double lost = (product - (sum - virtual_c)) + (c - virtual_c);
  const auto bits = std::bit_cast<uint64_t>(sum);
  if (lost == 0 || (bits & 1) != 0) return sum;
  const bool away_from_zero = (lost > 0) == (sum > 0);
  return std::bit_cast<double>(away_from_zero ? bits + 1 : bits - 1);
}

F16 to_f16(double x, Rounding rounding) {
  if (std::isnan(x)) return {kCanonicalNaN};
  const double rounded = round_to(x, kF16Format, rounding);
  const auto sign = static_cast<uint16_t>(std::signbit(rounded) ? 0x8000 : 0);
  const double magnitude = std::fabs(rounded);
  if (magnitude > kF16Format.largest) return {static_cast<uint16_t>(sign | 0x7C00)};
  if (magnitude < 0x1p-14) return {static_cast<uint16_t>(sign | static_cast<uint16_t>(magnitude * 0x1p24))};
  const int exponent = std::ilogb(magnitude);
  const auto fraction = static_cast<uint16_t>((std::ldexp(magnitude, -exponent) - 1) * 1024);
  return {static_cast<uint16_t>(sign | ((exponent + 15) << 10) | fraction)};
}

BF16 to_bf16(double x, Rounding rounding) {
  if (std::isnan(x)) return {kCanonicalNaN};
  const auto rounded = static_cast<float>(round_to(x, kBF16Format, rounding));
  return {static_cast<uint16_t>(std::bit_cast<uint32_t>(rounded) >> 16)};
}

F16 to_f16_nearest(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return {kCanonicalNaN};
  if (magnitude >= 0x47800000) return {static_cast<uint16_t>(sign | 0x7C00)};  // 65536 and more
  if (magnitude < 0x38800000) {                                                // below 2^-14: subnormal
    // Adding 0.5 leaves the fraction's last bit at 2^-24, rounded by the addition itself.
    const auto aligned = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5F);
    return {static_cast<uint16_t>(sign | (aligned - 0x3F000000))};
  }
  const uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13))};
}

BF16 to_bf16_nearest(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return {kCanonicalNaN};
  return {static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}

}  // namespace triptych::emulator::ptx
