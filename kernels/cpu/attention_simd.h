// What the forward and the backward of attention share, compiled once for every instruction set; the guard is
// Highway's, as in kernels/cpu/simd.h.

#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/micro_gemm.h"
#include "kernels/cpu/simd.h"

#if defined(TRIPTYCH_KERNELS_CPU_ATTENTION_SIMD_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIPTYCH_KERNELS_CPU_ATTENTION_SIMD_H
#undef TRIPTYCH_KERNELS_CPU_ATTENTION_SIMD_H
#else
#define TRIPTYCH_KERNELS_CPU_ATTENTION_SIMD_H
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

static_assert(kAttentionPadding % kMaxLanes == 0 && kAttentionRows == kMicroRows);

/// 2^x for x up to 127; what is below 2^-126 gives 2^-126. A NaN stays one. Within 2e-7 of the value.
HWY_INLINE Vec exp2(Vec x) {
  const hn::RebindToSigned<Floats> integers;
  const Vec lowest = hn::Set(kFloats, -126.0f);
  const Vec clamped = hn::IfThenElse(hn::Lt(x, lowest), lowest, x);
  const auto whole = hn::NearestInt(clamped);
  const Vec f = hn::Sub(clamped, hn::ConvertTo(kFloats, whole));
  // Taylor's series of 2^f: with |f| <= 1/2 the first term left out is at most (ln 2 / 2)^7 / 7! = 1.2e-7.
  Vec y = hn::Set(kFloats, 1.540353039338161e-4f);
  y = hn::MulAdd(y, f, hn::Set(kFloats, 1.333355814642844e-3f));
  y = hn::MulAdd(y, f, hn::Set(kFloats, 9.618129107628477e-3f));
  y = hn::MulAdd(y, f, hn::Set(kFloats, 5.550410866482158e-2f));
  y = hn::MulAdd(y, f, hn::Set(kFloats, 2.402265069591007e-1f));
  y = hn::MulAdd(y, f, hn::Set(kFloats, 6.931471805599453e-1f));
  y = hn::MulAdd(y, f, hn::Set(kFloats, 1.0f));
  const auto power = hn::ShiftLeft<23>(hn::Add(whole, hn::Set(integers, 127)));
  return hn::Mul(y, hn::BitCast(kFloats, power));
}

/// Tokens of one head as packed floats, each padded with zeros to `padded_dim`.
template <typename T>
HWY_INLINE void pack_tokens(const T* from, int64_t token_stride, int64_t num_tokens, const AttentionTiling& tiling,
                            float* to) {
  for (int64_t i = 0; i < num_tokens; ++i) {
    float* row = to + i * tiling.padded_dim;
    for (int64_t x = round_up(tiling.head_dim, kMaxLanes); x < tiling.padded_dim; x += kMaxLanes) {
      store(hn::Zero(kFloats), row + x);
    }
    for_vectors(tiling.head_dim,
                [&](int64_t x, auto part) HWY_ATTR { store(load(from + i * token_stride + x, part), row + x); });
  }
}

/// As pack_tokens, with tokens of zeros up to a multiple of the padding; and the same transposed, a tile of keys wide.
template <typename T>
HWY_INLINE void pack_transposed(const T* from, int64_t token_stride, int64_t num_tokens, const AttentionTiling& tiling,
                                float* packed, float* transposed) {
  pack_tokens(from, token_stride, num_tokens, tiling, packed);
  const int64_t padded_tokens = round_up(num_tokens, kAttentionPadding);
  std::fill(packed + num_tokens * tiling.padded_dim, packed + padded_tokens * tiling.padded_dim, 0.0f);
  transpose(packed, tiling.padded_dim, padded_tokens, tiling.padded_dim, transposed, tiling.key_tile);
}

/// A token's result, times `factor`, as it is stored.
template <typename T>
HWY_INLINE void store_token(const float* from, float factor, int64_t head_dim, T* to) {
  const Vec scale = hn::Set(kFloats, factor);
  for_vectors(head_dim, [&](int64_t x, auto part) HWY_ATTR { store(hn::Mul(load(from + x), scale), to + x, part); });
}

/// row[x] = f(vector at x) for x < count, 0 for count <= x < width; `count` need not be whole vectors, width is.
/// f gets the lanes beyond count too; a `Vec` accumulates what it returns, with zeros there.
template <typename F>
HWY_INLINE Vec replace_visible(float* row, int64_t count, int64_t width, const F& f) {
  Vec total = hn::Zero(kFloats);
  int64_t x = 0;
  for (; x + kMaxLanes <= count; x += kMaxLanes) {
    const Vec value = f(x);
    store(value, row + x);
    total = hn::Add(total, value);
  }
  if (x < count) {
    const Vec value = hn::IfThenElseZero(hn::FirstN(kFloats, static_cast<std::size_t>(count - x)), f(x));
    store(value, row + x);
    total = hn::Add(total, value);
    x += kMaxLanes;
  }
  for (; x < width; x += kMaxLanes) store(hn::Zero(kFloats), row + x);
  return total;
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // Highway's guard
