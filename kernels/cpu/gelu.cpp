#include "kernels/gelu.h"

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gelu.cpp"
#include "kernels/cpu/normal_distribution.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void gelu_forward_range(const void* h, void* a, int64_t begin, int64_t end, DType dtype) {
  with_float_type(dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const T* in = static_cast<const T*>(h) + begin;
    T* out = static_cast<T*>(a) + begin;
    for_vectors(end - begin, [&](int64_t i, auto part) HWY_ATTR {
      const Vec x = load(in + i, part);
      store(hn::Mul(x, normal_distribution(x).cumulative), out + i, part);
    });
  });
}

template <bool kWriteForward, typename T>
void gelu_backward_typed(const T* h, const T* da, T* dh, T* a, int64_t n) {
  for_vectors(n, [&](int64_t i, auto part) HWY_ATTR {
    const Vec x = load(h + i, part);
    const Vec gradient = load(da + i, part);
    const NormalDistribution phi = normal_distribution(x);
    if constexpr (kWriteForward) store(hn::Mul(x, phi.cumulative), a + i, part);
    store(hn::Mul(gradient, hn::MulAdd(x, phi.density, phi.cumulative)), dh + i, part);
  });
}

void gelu_backward_range(const GeluBackwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const T* h = static_cast<const T*>(args.h) + begin;
    const T* da = static_cast<const T*>(args.da) + begin;
    T* dh = static_cast<T*>(args.dh) + begin;
    if (args.a != nullptr) {
      gelu_backward_typed<true>(h, da, dh, static_cast<T*>(args.a) + begin, end - begin);
    } else {
      gelu_backward_typed<false, T>(h, da, dh, nullptr, end - begin);
    }
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(gelu_forward_range);
HWY_EXPORT(gelu_backward_range);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void gelu_forward(Stream& stream, const void* h, void* a, int64_t n, DType dtype) {
  check_float_dtype(dtype, "gelu_forward");
  parallel_ranges(stream, n, kGrainElements, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(gelu_forward_range)(h, a, begin, end, dtype);
  });
}

void gelu_backward(Stream& stream, const GeluBackwardArgs& args) {
  check_float_dtype(args.dtype, "gelu_backward");
  parallel_ranges(stream, args.n, kGrainElements, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(gelu_backward_range)(args, begin, end);
  });
}

}  // namespace triptych::kernels
#endif
