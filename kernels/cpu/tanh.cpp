#include "kernels/tanh.h"

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/tanh.cpp"
// simd.h chooses the targets, so it comes before any header of Highway.
// clang-format off
#include "kernels/cpu/simd.h"
#include <hwy/contrib/math/math-inl.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void tanh_forward_range(const void* x, void* y, int64_t begin, int64_t end, DType dtype) {
  with_float_type(dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const T* in = static_cast<const T*>(x) + begin;
    T* out = static_cast<T*>(y) + begin;
    for_vectors(end - begin, [&](int64_t i, auto part) HWY_ATTR {
      const Vec value = load(in + i, part);  // Highway makes a number of a NaN
      store(hn::IfThenElse(hn::IsNaN(value), value, hn::Tanh(kFloats, value)), out + i, part);
    });
  });
}

void tanh_backward_range(const TanhBackwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const T* y = static_cast<const T*>(args.y) + begin;
    const T* dy = static_cast<const T*>(args.dy) + begin;
    T* dx = static_cast<T*>(args.dx) + begin;
    const Vec one = hn::Set(kFloats, 1.0f);
    for_vectors(end - begin, [&](int64_t i, auto part) HWY_ATTR {
      const Vec result = load(y + i, part);
      const Vec slope = hn::Mul(hn::Sub(one, result), hn::Add(one, result));
      store(hn::Mul(load(dy + i, part), slope), dx + i, part);
    });
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(tanh_forward_range);
HWY_EXPORT(tanh_backward_range);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void tanh_forward(Stream& stream, const void* x, void* y, int64_t n, DType dtype) {
  check_float_dtype(dtype, "tanh_forward");
  parallel_ranges(stream, n, kGrainElements, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(tanh_forward_range)(x, y, begin, end, dtype);
  });
}

void tanh_backward(Stream& stream, const TanhBackwardArgs& args) {
  check_float_dtype(args.dtype, "tanh_backward");
  parallel_ranges(stream, args.n, kGrainElements, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(tanh_backward_range)(args, begin, end);
  });
}

}  // namespace triptych::kernels
#endif
