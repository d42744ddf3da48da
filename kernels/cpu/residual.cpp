#include "kernels/residual.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/residual.cpp"
#include "kernels/cpu/philox.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::cpu::HWY_NAMESPACE {

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

template <bool kBias, typename T, typename Z>
void residual_forward_typed(const ResidualForwardArgs& args, int64_t begin, int64_t end) {
  const DropoutArgs& d = args.dropout;
  const DropoutFactor factor(d.p);
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(args.x) + row * d.cols;
    const Z* z = static_cast<const Z*>(args.z) + row * d.cols;
    T* out = static_cast<T*>(args.out) + row * d.cols;
    const auto branch = [&](int64_t i, auto part) HWY_ATTR {
      const Vec v = load(z + i, part);
      if constexpr (kBias) return hn::Add(v, load(args.bias + i, part));
      return v;
    };
    if (d.p == 0.0f) {
      for_vectors(d.cols, [&](int64_t i, auto part)
                              HWY_ATTR { store(hn::Add(load(x + i, part), branch(i, part)), out + i, part); });
      continue;
    }
    for_random_words(d.key, dropout_row_begin(d, row), d.cols,
                     [&](int64_t first, int64_t count, const uint32_t* words) HWY_ATTR {
                       for_vectors(count, [&](int64_t j, auto part) HWY_ATTR {
                         const int64_t i = first + j;
                         store(hn::MulAdd(branch(i, part), factor(words + j), load(x + i, part)), out + i, part);
                       });
                     });
  }
}

void residual_forward_rows(const ResidualForwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    with_float_type(args.z_dtype, [&](auto z_type) HWY_ATTR {
      if (args.bias != nullptr) {
        residual_forward_typed<true, decltype(type), decltype(z_type)>(args, begin, end);
      } else {
        residual_forward_typed<false, decltype(type), decltype(z_type)>(args, begin, end);
      }
    });
  });
}

void residual_backward_rows(const ResidualBackwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const DropoutArgs& d = args.dropout;
    const DropoutFactor factor(d.p);
    for (int64_t row = begin; row < end; ++row) {
      const T* dout = static_cast<const T*>(args.dout) + row * d.cols;
      T* dz = static_cast<T*>(args.dz) + row * d.cols;
      for_random_words(d.key, dropout_row_begin(d, row), d.cols,
                       [&](int64_t first, int64_t count, const uint32_t* words) HWY_ATTR {
                         for_vectors(count, [&](int64_t j, auto part) HWY_ATTR {
                           const int64_t i = first + j;
                           store(hn::Mul(load(dout + i, part), factor(words + j)), dz + i, part);
                         });
                       });
    }
  });
}

}  // namespace triptych::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::cpu {
HWY_EXPORT(residual_forward_rows);
HWY_EXPORT(residual_backward_rows);
}  // namespace triptych::cpu

namespace triptych {

using namespace cpu;

namespace {

void check_dropout(const DropoutArgs& d) {
  TRIPTYCH_CHECK(d.p >= 0.0f && d.p < 1.0f, "Dropout needs p in [0, 1), found {}.", d.p);
  TRIPTYCH_CHECK(d.batch_begin >= 0 && d.seq_begin >= 0 && d.seq_begin + d.seq <= d.seq_total,
                 "A rank's rows [{}, {}) lie in the sequence's {}, and its batch begins at {} >= 0.", d.seq_begin,
                 d.seq_begin + d.seq, d.seq_total, d.batch_begin);
}

}  // namespace

void residual_forward(Stream& stream, const ResidualForwardArgs& args) {
  check_float_dtype(args.dtype, "residual_forward");
  check_float_dtype(args.z_dtype, "residual_forward");
  const DropoutArgs& d = args.dropout;
  check_dropout(d);
  parallel_ranges(stream, d.batch * d.seq, grain_rows(d.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(residual_forward_rows)(args, begin, end);
  });
}

void residual_backward(Stream& stream, const ResidualBackwardArgs& args) {
  check_float_dtype(args.dtype, "residual_backward");
  const DropoutArgs& d = args.dropout;
  check_dropout(d);
  parallel_ranges(stream, d.batch * d.seq, grain_rows(d.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(residual_backward_rows)(args, begin, end);
  });
}

}  // namespace triptych
#endif
