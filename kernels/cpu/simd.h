// What the vectorised kernels share, compiled once for every instruction set (Highway's dynamic dispatch). A kernel's
// file defines HWY_TARGET_INCLUDE as its own path and includes this header, which makes Highway include that file again
// for each target; so the guard below is Highway's, not `#pragma once`.

#include <bit>
#include <cstdint>
#include <cstring>

// The choice of targets, then foreach_target, then the rest.
// clang-format off
#include "kernels/cpu/simd_targets.h"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

#include "base/dtype.h"

#if defined(TRIPTYCH_KERNELS_CPU_SIMD_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIPTYCH_KERNELS_CPU_SIMD_H
#undef TRIPTYCH_KERNELS_CPU_SIMD_H
#else
#define TRIPTYCH_KERNELS_CPU_SIMD_H
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vec = hn::Vec<Floats>;

inline constexpr Floats kFloats{};
inline constexpr int64_t kMaxLanes = hn::MaxLanes(Floats());

/// A whole vector, or the last few elements of an array: `count` < lanes. Elements beyond it load as zeros.
struct Whole {};
struct Part {
  int64_t count;
};

HWY_INLINE Vec load(const float* p, Whole = {}) {
  return hn::LoadU(kFloats, p);
}

HWY_INLINE Vec load(const BFloat16* p, Whole = {}) {
  const hn::Rebind<uint16_t, Floats> halves;
  const hn::Rebind<uint32_t, Floats> words;
  const auto bits = hn::PromoteTo(words, hn::LoadU(halves, reinterpret_cast<const uint16_t*>(p)));
  return hn::BitCast(kFloats, hn::ShiftLeft<16>(bits));
}

HWY_INLINE void store(Vec v, float* p, Whole = {}) {
  hn::StoreU(v, kFloats, p);
}

/// Rounds to nearest, ties to even, as BFloat16 does; Highway's own demotion truncates.
HWY_INLINE void store(Vec v, BFloat16* p, Whole = {}) {
  const hn::Rebind<uint16_t, Floats> halves;
  const hn::Rebind<uint32_t, Floats> words;
  const hn::Rebind<int32_t, Floats> signed_words;
  const auto u = hn::BitCast(words, v);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(words, 1u));
  const auto rounded = hn::Add(hn::Add(u, hn::Set(words, 0x7fffu)), odd);
  const auto quiet_nan = hn::Or(u, hn::Set(words, 0x400000u));
  const auto is_nan = hn::RebindMask(words, hn::IsNaN(v));
  const auto bits = hn::ShiftRight<16>(hn::IfThenElse(is_nan, quiet_nan, rounded));
  // Never above 0xffff, so the signed conversion's saturation is without effect.
  hn::StoreU(hn::DemoteTo(halves, hn::BitCast(signed_words, bits)), halves, reinterpret_cast<uint16_t*>(p));
}

template <typename T>
HWY_INLINE Vec load(const T* p, Part part) {
  HWY_ALIGN T buffer[kMaxLanes] = {};
  std::memcpy(buffer, p, static_cast<std::size_t>(part.count) * sizeof(T));
  return load(buffer);
}

template <typename T>
HWY_INLINE void store(Vec v, T* p, Part part) {
  HWY_ALIGN T buffer[kMaxLanes];
  store(v, buffer);
  std::memcpy(p, buffer, static_cast<std::size_t>(part.count) * sizeof(T));
}

/// Zero in the lanes beyond the part.
HWY_INLINE Vec only(Vec v, Whole) {
  return v;
}
HWY_INLINE Vec only(Vec v, Part part) {
  return hn::IfThenElseZero(hn::FirstN(kFloats, static_cast<std::size_t>(part.count)), v);
}

/// Calls f(i, Whole or Part) for each vector of [0, n). Lambdas given here need HWY_ATTR after their parameters.
template <typename F>
HWY_INLINE void for_vectors(int64_t n, const F& f) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(kFloats));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(i, Whole{});
  if (i < n) f(i, Part{n - i});
}

HWY_INLINE float sum_lanes(Vec v) {
  return hn::GetLane(hn::SumOfLanes(kFloats, v));
}

/// The sum over [0, n) of f(i, Whole or Part), which returns a vector: four partial sums a lane, so that neither
/// latency nor rounding grows with n as in one chain.
template <typename F>
HWY_INLINE float sum_vectors(int64_t n, const F& f) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(kFloats));
  Vec s0 = hn::Zero(kFloats), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    s0 = hn::Add(s0, f(i, Whole{}));
    s1 = hn::Add(s1, f(i + lanes, Whole{}));
    s2 = hn::Add(s2, f(i + 2 * lanes, Whole{}));
    s3 = hn::Add(s3, f(i + 3 * lanes, Whole{}));
  }
  for (; i + lanes <= n; i += lanes) s0 = hn::Add(s0, f(i, Whole{}));
  if (i < n) s1 = hn::Add(s1, only(f(i, Part{n - i}), Part{n - i}));
  return sum_lanes(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

/// dst[i] = src[i], converted.
template <typename Dst, typename Src>
HWY_INLINE void convert(const Src* src, Dst* dst, int64_t n) {
  for_vectors(n, [&](int64_t i, auto part) HWY_ATTR { store(load(src + i, part), dst + i, part); });
}
template <typename T>
HWY_INLINE void convert(const T* src, T* dst, int64_t n) {
  if (n > 0) std::memcpy(dst, src, static_cast<std::size_t>(n) * sizeof(T));
}

/// f(float or BFloat16 value): the type that a dtype stands for.
template <typename F>
HWY_INLINE void with_float_type(DType dtype, const F& f) {
  if (dtype == DType::kBFloat16) {
    f(BFloat16());
  } else {
    f(float());
  }
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // Highway's guard
