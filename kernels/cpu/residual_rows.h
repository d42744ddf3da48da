// A residual branch of one row, for its own kernels and for residual_norm. Included once for every target, like simd.h.

#include <algorithm>
#include <cmath>

#include "base/philox.h"
#include "kernels/cpu/philox.h"
#include "kernels/cpu/simd.h"
#include "kernels/residual.h"

#if defined(TRIPTYCH_KERNELS_CPU_RESIDUAL_ROWS_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIPTYCH_KERNELS_CPU_RESIDUAL_ROWS_H
#undef TRIPTYCH_KERNELS_CPU_RESIDUAL_ROWS_H
#else
#define TRIPTYCH_KERNELS_CPU_RESIDUAL_ROWS_H
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

/// Calls apply(begin, count, words) over pieces of [0, cols), with a random word for each element of the row that
/// starts at global element `global_begin`.
template <typename F>
HWY_INLINE void for_random_words(RandomKey key, uint64_t global_begin, int64_t cols, const F& apply) {
  constexpr int64_t kPiece = 1024;
  HWY_ALIGN uint32_t words[kPiece + 4 + kPhiloxPadding];
  for (int64_t begin = 0; begin < cols; begin += kPiece) {
    const int64_t count = std::min(kPiece, cols - begin);
    const uint64_t first = global_begin + static_cast<uint64_t>(begin);
    const auto skipped = static_cast<int64_t>(first % 4);
    philox_words(key, first / 4, (skipped + count + 3) / 4, words);
    apply(begin, count, words + skipped);
  }
}

/// 1 / (1 - p) where the element stays, 0 where it is dropped: philox_uniform < p, compared as integers.
struct DropoutFactor {
  explicit DropoutFactor(float p)
      : threshold(static_cast<int32_t>(std::ceil(static_cast<double>(p) * 0x1p24))),
        scale(static_cast<float>(1.0 / (1.0 - static_cast<double>(p)))) {}
  HWY_INLINE Vec operator()(const uint32_t* words) const {
    const hn::Rebind<uint32_t, Floats> unsigned_words;
    const hn::Rebind<int32_t, Floats> signed_words;
    const auto uniform = hn::BitCast(signed_words, hn::ShiftRight<8>(hn::LoadU(unsigned_words, words)));
    const auto dropped = hn::RebindMask(kFloats, hn::Lt(uniform, hn::Set(signed_words, threshold)));
    return hn::IfThenZeroElse(dropped, hn::Set(kFloats, scale));
  }
  int32_t threshold;
  float scale;
};

HWY_INLINE uint64_t dropout_row_begin(const DropoutArgs& d, int64_t row) {
  const int64_t b = d.batch_begin + row / d.seq, s = d.seq_begin + row % d.seq;
  return static_cast<uint64_t>(b * d.seq_total + s) * static_cast<uint64_t>(d.cols);
}

/// What the branch of a row's whole sample is multiplied by: 1 without stochastic depth.
inline float path_factor(const DropoutArgs& d, int64_t row) {
  if (d.path_p == 0.0f) return 1.0f;
  const auto sample = static_cast<uint64_t>(d.batch_begin + row / d.seq);
  if (philox_uniform(d.path_key, sample) < d.path_p) return 0.0f;
  return static_cast<float>(1.0 / (1.0 - static_cast<double>(d.path_p)));
}

template <bool kBias, typename T, typename Z>
void residual_forward_row(const ResidualForwardArgs& args, int64_t row) {
  const DropoutArgs& d = args.dropout;
  const T* x = static_cast<const T*>(args.x) + row * d.cols;
  const Z* z = static_cast<const Z*>(args.z) + row * d.cols;
  T* out = static_cast<T*>(args.out) + row * d.cols;
  const auto branch = [&](int64_t i, auto part) HWY_ATTR {
    const Vec v = load(z + i, part);
    if constexpr (kBias) return hn::Add(v, load(args.bias + i, part));
    return v;
  };
  const Vec path = hn::Set(kFloats, path_factor(d, row));
  if (d.p == 0.0f) {  // times 1 without stochastic depth, which changes no bit
    for_vectors(d.cols, [&](int64_t i, auto part)
                            HWY_ATTR { store(hn::MulAdd(branch(i, part), path, load(x + i, part)), out + i, part); });
    return;
  }
  const DropoutFactor factor(d.p);
  for_random_words(d.key, dropout_row_begin(d, row), d.cols,
                   [&](int64_t first, int64_t count, const uint32_t* words) HWY_ATTR {
                     for_vectors(count, [&](int64_t j, auto part) HWY_ATTR {
                       const int64_t i = first + j;
                       const Vec times = hn::Mul(factor(words + j), path);
                       store(hn::MulAdd(branch(i, part), times, load(x + i, part)), out + i, part);
                     });
                   });
}

template <typename T, typename Z>
void residual_forward_row(const ResidualForwardArgs& args, int64_t row) {
  if (args.bias != nullptr) {
    residual_forward_row<true, T, Z>(args, row);
  } else {
    residual_forward_row<false, T, Z>(args, row);
  }
}

/// A row of dz, and its share of dbias added to `dbias` unless that is null.
template <typename T>
void residual_backward_row(const ResidualBackwardArgs& args, int64_t row, float* dbias) {
  const DropoutArgs& d = args.dropout;
  const T* dout = static_cast<const T*>(args.dout) + row * d.cols;
  const auto add_to_bias = [&](Vec gradient, int64_t i, auto part) HWY_ATTR {
    if (dbias != nullptr) store(hn::Add(load(dbias + i, part), gradient), dbias + i, part);
  };
  if (!d.drops()) {
    for_vectors(d.cols, [&](int64_t i, auto part) HWY_ATTR { add_to_bias(load(dout + i, part), i, part); });
    return;
  }
  T* dz = static_cast<T*>(args.dz) + row * d.cols;
  const Vec path = hn::Set(kFloats, path_factor(d, row));
  if (d.p == 0.0f) {
    for_vectors(d.cols, [&](int64_t i, auto part) HWY_ATTR {
      const Vec gradient = hn::Mul(load(dout + i, part), path);
      store(gradient, dz + i, part);
      add_to_bias(gradient, i, part);
    });
    return;
  }
  const DropoutFactor factor(d.p);
  for_random_words(d.key, dropout_row_begin(d, row), d.cols,
                   [&](int64_t first, int64_t count, const uint32_t* words) HWY_ATTR {
                     for_vectors(count, [&](int64_t j, auto part) HWY_ATTR {
                       const int64_t i = first + j;
                       const Vec gradient = hn::Mul(load(dout + i, part), hn::Mul(factor(words + j), path));
                       store(gradient, dz + i, part);
                       add_to_bias(gradient, i, part);
                     });
                   });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // Highway's guard
