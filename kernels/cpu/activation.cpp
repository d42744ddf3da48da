#include "kernels/activation.h"

#include <type_traits>

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activation.cpp"
#include "kernels/cpu/normal_distribution.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

struct Unit {
  Vec value, derivative;
};

// x * sigmoid(z(x)): all but the exact GELU are of this form, since (1 + tanh(u)) / 2 = sigmoid(2 u).
template <Activation kActivation>
HWY_INLINE Unit sigmoid_unit(Vec x) {
  constexpr bool kTanh = kActivation == Activation::kGeluTanh;
  // So far from 0 the sigmoid is 0 or 1 in float32; a cube of what is beyond would overflow.
  constexpr float kFar = kTanh ? 10.0f : kActivation == Activation::kGeluQuick ? 51.0f : 87.0f;
  const Vec far = hn::Set(kFloats, kFar), zero = hn::Zero(kFloats), one = hn::Set(kFloats, 1.0f);
  const auto too_low = hn::Lt(x, hn::Neg(far));
  Vec near = hn::IfThenElse(hn::Gt(x, far), far, x);
  near = hn::IfThenElse(too_low, hn::Neg(far), near);  // a NaN stays one
  Vec slope = hn::Set(kFloats, kActivation == Activation::kGeluQuick ? 1.702f : 1.0f);
  Vec z = hn::Mul(slope, near);
  if constexpr (kTanh) {
    const Vec linear = hn::Set(kFloats, 1.5957691216057308f);  // 2 sqrt(2 / pi)
    const Vec cubic = hn::Set(kFloats, 0.07135481282553519f);  // 0.044715 of it
    const Vec square = hn::Mul(near, near);
    z = hn::Mul(near, hn::MulAdd(cubic, square, linear));
    slope = hn::MulAdd(hn::Mul(hn::Set(kFloats, 3.0f), cubic), square, linear);
  }
  const Vec magnitude = hn::Abs(z);
  const Vec e = gauss_of_square(hn::Add(magnitude, magnitude));  // exp(-|z|)
  const Vec r = hn::Div(one, hn::Add(one, e));
  const Vec sigmoid = hn::IfThenElse(hn::Lt(z, zero), hn::Mul(e, r), r);
  const Vec of_sigmoid = hn::Mul(slope, hn::Mul(e, hn::Mul(r, r)));
  return {hn::IfThenElse(too_low, zero, hn::Mul(x, sigmoid)), hn::MulAdd(near, of_sigmoid, sigmoid)};
}

template <Activation kActivation>
HWY_INLINE Unit unit(Vec x) {
  if constexpr (kActivation == Activation::kGelu) {
    const NormalDistribution phi = normal_distribution(x);
    return {hn::Mul(x, phi.cumulative), hn::MulAdd(x, phi.density, phi.cumulative)};
  } else {
    return sigmoid_unit<kActivation>(x);
  }
}

// f of one that is not gated.
template <typename F>
HWY_INLINE void with_unit(Activation activation, const F& f) {
  if (activation == Activation::kGelu) {
    f(std::integral_constant<Activation, Activation::kGelu>());
  } else if (activation == Activation::kGeluTanh) {
    f(std::integral_constant<Activation, Activation::kGeluTanh>());
  } else {
    f(std::integral_constant<Activation, Activation::kGeluQuick>());
  }
}

// ---- Elements [begin, end) of one array

void unit_forward_range(const ActivationForwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const T* h = static_cast<const T*>(args.h) + begin;
    T* a = static_cast<T*>(args.a) + begin;
    with_unit(args.activation, [&](auto kind) HWY_ATTR {
      for_vectors(end - begin,
                  [&](int64_t i, auto part) HWY_ATTR { store(unit<kind()>(load(h + i, part)).value, a + i, part); });
    });
  });
}

void unit_backward_range(const ActivationBackwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    const T* h = static_cast<const T*>(args.h) + begin;
    const T* da = static_cast<const T*>(args.da) + begin;
    T* dh = static_cast<T*>(args.dh) + begin;
    T* a = args.a == nullptr ? nullptr : static_cast<T*>(args.a) + begin;
    with_unit(args.activation, [&](auto kind) HWY_ATTR {
      for_vectors(end - begin, [&](int64_t i, auto part) HWY_ATTR {
        const Unit of = unit<kind()>(load(h + i, part));
        const Vec gradient = load(da + i, part);
        if (a != nullptr) store(of.value, a + i, part);
        store(hn::Mul(gradient, of.derivative), dh + i, part);
      });
    });
  });
}

// ---- Rows [begin, end) of a gate and what it multiplies

void gated_forward_rows(const ActivationForwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row) {
      const T* gate = static_cast<const T*>(args.h) + 2 * row * args.cols;
      const T* x = gate + args.cols;
      T* a = static_cast<T*>(args.a) + row * args.cols;
      for_vectors(args.cols, [&](int64_t i, auto part) HWY_ATTR {
        store(hn::Mul(unit<Activation::kSwiglu>(load(gate + i, part)).value, load(x + i, part)), a + i, part);
      });
    }
  });
}

void gated_backward_rows(const ActivationBackwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row) {
      const T* gate = static_cast<const T*>(args.h) + 2 * row * args.cols;
      const T* x = gate + args.cols;
      const T* da = static_cast<const T*>(args.da) + row * args.cols;
      T* dgate = static_cast<T*>(args.dh) + 2 * row * args.cols;
      T* dx = dgate + args.cols;
      T* a = args.a == nullptr ? nullptr : static_cast<T*>(args.a) + row * args.cols;
      for_vectors(args.cols, [&](int64_t i, auto part) HWY_ATTR {
        const Unit of = unit<Activation::kSwiglu>(load(gate + i, part));
        const Vec factor = load(x + i, part), gradient = load(da + i, part);
        if (a != nullptr) store(hn::Mul(of.value, factor), a + i, part);
        store(hn::Mul(gradient, hn::Mul(of.derivative, factor)), dgate + i, part);
        store(hn::Mul(gradient, of.value), dx + i, part);
      });
    }
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(unit_forward_range);
HWY_EXPORT(unit_backward_range);
HWY_EXPORT(gated_forward_rows);
HWY_EXPORT(gated_backward_rows);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void activation_forward(Stream& stream, const ActivationForwardArgs& args) {
  check_float_dtype(args.dtype, "activation_forward");
  if (is_gated(args.activation)) {
    parallel_ranges(stream, args.rows, grain_rows(args.cols), [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(gated_forward_rows)(args, begin, end);
    });
  } else {
    parallel_ranges(stream, args.rows * args.cols, kGrainElements, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(unit_forward_range)(args, begin, end);
    });
  }
}

void activation_backward(Stream& stream, const ActivationBackwardArgs& args) {
  check_float_dtype(args.dtype, "activation_backward");
  if (is_gated(args.activation)) {
    parallel_ranges(stream, args.rows, grain_rows(args.cols), [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(gated_backward_rows)(args, begin, end);
    });
  } else {
    parallel_ranges(stream, args.rows * args.cols, kGrainElements, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(unit_backward_range)(args, begin, end);
    });
  }
}

}  // namespace triptych::kernels
#endif
