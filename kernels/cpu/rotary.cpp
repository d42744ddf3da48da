#include "kernels/rotary.h"

#include "kernels/cpu/parallel.h"
#include "kernels/rotary_checks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rotary.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void rotary_rows(const RotaryArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const int64_t half = args.head_dim / 2, kept = (args.parts - args.rotated) * args.cols;
    const Vec sign = hn::Set(kFloats, args.inverse ? -1.0f : 1.0f);
    for (int64_t row = begin; row < end; ++row) {
      const float* cosines = args.table + row % args.seq * args.head_dim;
      const float* sines = cosines + half;
      const T* x = static_cast<const T*>(args.x) + row * args.parts * args.cols;
      T* y = static_cast<T*>(args.y) + row * args.parts * args.cols;
      for (int64_t head = 0; head < args.rotated * args.cols; head += args.head_dim) {
        const T* const low = x + head;
        const T* const high = low + half;
        T* const y_low = y + head;
        T* const y_high = y_low + half;
        for_vectors(half, [&](int64_t i, auto part) HWY_ATTR {
          const Vec a = load(low + i, part), b = load(high + i, part);
          const Vec c = load(cosines + i, part), s = hn::Mul(sign, load(sines + i, part));
          store(hn::NegMulAdd(b, s, hn::Mul(a, c)), y_low + i, part);
          store(hn::MulAdd(a, s, hn::Mul(b, c)), y_high + i, part);
        });
      }
      if (y != x) convert(x + args.rotated * args.cols, y + args.rotated * args.cols, kept);
    }
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(rotary_rows);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void rotary(Stream& stream, const RotaryArgs& args) {
  check_float_dtype(args.dtype, "rotary");
  check_rotary(args);
  parallel_ranges(stream, args.batch * args.seq, grain_rows(args.parts * args.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(rotary_rows)(args, begin, end);
  });
}

}  // namespace triptych::kernels
#endif
