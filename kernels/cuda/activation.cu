#include "kernels/activation.h"
#include "kernels/cuda/common.cuh"

namespace triptych::kernels {
namespace {

using namespace cuda;

struct NormalDistribution {
  float cumulative;  ///< Phi(x) = (1 + erf(x / sqrt 2)) / 2
  float density;     ///< phi(x) = exp(-x^2 / 2) / sqrt(2 pi)
};

/// The upper tail is exp(-x^2 / 2) * P(t) with t = 1 / (1 + 0.29 |x|) (the form of Abramowitz and Stegun 7.1.26), P of
/// degree 8 fitted for the least maximum error: 1.3e-9, so what is left is float32's rounding, and the lower tail keeps
/// its relative precision, which 1 + erf would cancel. The exponential serves both functions, at half of what erf and
/// exp cost. Every rounding is spelled out, so that forward and backward give the same bits.
__device__ inline NormalDistribution normal_distribution(float x) {
  const float t = __frcp_rn(fmaf(0.29f, fabsf(x), 1.0f));
  float p = 0.03717375381540624f;
  p = fmaf(p, t, -0.1815882142268222f);
  p = fmaf(p, t, 0.2812789927696466f);
  p = fmaf(p, t, -0.12100810120161787f);
  p = fmaf(p, t, 0.16376122673292243f);
  p = fmaf(p, t, 0.086492368157111f);
  p = fmaf(p, t, 0.11834542132699963f);
  p = fmaf(p, t, 0.11554455186534988f);
  const float gauss = expf(__fmul_rn(-0.5f, __fmul_rn(x, x)));
  const float tail = __fmul_rn(gauss, __fmul_rn(p, t));
  return {x < 0.0f ? tail : __fsub_rn(1.0f, tail), __fmul_rn(gauss, 0.398942280401432678f)};
}

struct Unit {
  float value, derivative;
};

/// x * sigmoid(z(x)): all but the exact GELU are of this form, since (1 + tanh(u)) / 2 = sigmoid(2 u). Every rounding
/// is spelled out, so that forward and backward give the same bits.
template <Activation kActivation>
__device__ inline Unit sigmoid_unit(float x) {
  constexpr bool kTanh = kActivation == Activation::kGeluTanh;
  // So far from 0 the sigmoid is 0 or 1 in float32; a cube of what is beyond would overflow.
  constexpr float kFar = kTanh ? 10.0f : kActivation == Activation::kGeluQuick ? 51.0f : 87.0f;
  const float near = x > kFar ? kFar : x < -kFar ? -kFar : x;  // a NaN stays one
  float slope = kActivation == Activation::kGeluQuick ? 1.702f : 1.0f;
  float z = __fmul_rn(slope, near);
  if constexpr (kTanh) {
    constexpr float kLinear = 1.5957691216057308f;  // 2 sqrt(2 / pi)
    constexpr float kCubic = 0.07135481282553519f;  // 0.044715 of it
    const float square = __fmul_rn(near, near);
    z = __fmul_rn(near, fmaf(kCubic, square, kLinear));
    slope = fmaf(3.0f * kCubic, square, kLinear);
  }
  const float e = expf(-fabsf(z));
  const float r = __frcp_rn(__fadd_rn(1.0f, e));
  const float sigmoid = z < 0.0f ? __fmul_rn(e, r) : r;
  const float of_sigmoid = __fmul_rn(slope, __fmul_rn(e, __fmul_rn(r, r)));
  return {x < -kFar ? 0.0f : __fmul_rn(x, sigmoid), fmaf(near, of_sigmoid, sigmoid)};
}

template <Activation kActivation>
__device__ inline Unit unit(float x) {
  if constexpr (kActivation == Activation::kGelu) {
    const NormalDistribution phi = normal_distribution(x);
    return {__fmul_rn(x, phi.cumulative), fmaf(x, phi.density, phi.cumulative)};
  } else {
    return sigmoid_unit<kActivation>(x);
  }
}

/// f of one that is not gated.
template <typename F>
void with_unit(Activation activation, const F& f) {
  if (activation == Activation::kGelu) {
    f(std::integral_constant<Activation, Activation::kGelu>());
  } else if (activation == Activation::kGeluTanh) {
    f(std::integral_constant<Activation, Activation::kGeluTanh>());
  } else {
    f(std::integral_constant<Activation, Activation::kGeluQuick>());
  }
}

template <Activation kActivation, typename T>
struct UnitForward {
  const T* h;
  T* a;
  template <int N>
  __device__ void operator()(int64_t i, Piece<N> piece) const {
    Floats<N> x = load<N>(h + i, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) x[k] = unit<kActivation>(x[k]).value;
    store(x, a + i, piece);
  }
};

template <Activation kActivation, typename T>
struct UnitBackward {
  const T* h;
  const T* da;
  T* dh;
  T* a;  ///< or null
  template <int N>
  __device__ void operator()(int64_t i, Piece<N> piece) const {
    Floats<N> x = load<N>(h + i, piece);
    Floats<N> gradient = load<N>(da + i, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const Unit of = unit<kActivation>(x[k]);
      gradient[k] = __fmul_rn(gradient[k], of.derivative);
      x[k] = of.value;
    }
    store(gradient, dh + i, piece);
    if (a != nullptr) store(x, a + i, piece);
  }
};

template <typename T>
struct GatedForward {
  const T* h;
  T* a;
  int64_t cols;
  template <int N>
  __device__ void operator()(int64_t row, int64_t c, Piece<N> piece) const {
    const T* gates = h + 2 * row * cols + c;
    Floats<N> gate = load<N>(gates, piece);
    const Floats<N> x = load<N>(gates + cols, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) gate[k] = __fmul_rn(unit<Activation::kSwiglu>(gate[k]).value, x[k]);
    store(gate, a + row * cols + c, piece);
  }
};

template <typename T>
struct GatedBackward {
  const T* h;
  const T* da;
  T* dh;
  T* a;  ///< or null
  int64_t cols;
  template <int N>
  __device__ void operator()(int64_t row, int64_t c, Piece<N> piece) const {
    const int64_t at = 2 * row * cols + c;
    Floats<N> gate = load<N>(h + at, piece), x = load<N>(h + at + cols, piece);
    Floats<N> gradient = load<N>(da + row * cols + c, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const Unit of = unit<Activation::kSwiglu>(gate[k]);
      gate[k] = __fmul_rn(gradient[k], __fmul_rn(of.derivative, x[k]));
      x[k] = __fmul_rn(of.value, x[k]);
      gradient[k] = __fmul_rn(gradient[k], of.value);
    }
    store(gate, dh + at, piece);
    store(gradient, dh + at + cols, piece);
    if (a != nullptr) store(x, a + row * cols + c, piece);
  }
};

}  // namespace

void activation_forward(Stream& stream, const ActivationForwardArgs& args) {
  const int64_t n = args.rows * args.cols;
  with_float_type(args.dtype, "activation_forward", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int64_t kBytes = sizeof(T);
    const T* h = static_cast<const T*>(args.h);
    T* a = static_cast<T*>(args.a);
    if (is_gated(args.activation)) {
      launch_each_row_piece<kVectorSize<T>>(stream, "activation_forward", args.rows, args.cols,
                                            aligned_16({h, a}, {args.cols * kBytes}), GatedForward<T>{h, a, args.cols});
      return;
    }
    with_unit(args.activation, [&](auto kind) {
      launch_each_piece<kVectorSize<T>>(stream, "activation_forward", n, aligned_16({h, a}),
                                        UnitForward<decltype(kind)::value, T>{h, a});
    });
  });
}

void activation_backward(Stream& stream, const ActivationBackwardArgs& args) {
  const int64_t n = args.rows * args.cols;
  with_float_type(args.dtype, "activation_backward", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int64_t kBytes = sizeof(T);
    const T *h = static_cast<const T*>(args.h), *da = static_cast<const T*>(args.da);
    T *dh = static_cast<T*>(args.dh), *a = static_cast<T*>(args.a);
    if (is_gated(args.activation)) {
      launch_each_row_piece<kVectorSize<T>>(stream, "activation_backward", args.rows, args.cols,
                                            aligned_16({h, da, dh, a}, {args.cols * kBytes}),
                                            GatedBackward<T>{h, da, dh, a, args.cols});
      return;
    }
    with_unit(args.activation, [&](auto kind) {
      launch_each_piece<kVectorSize<T>>(stream, "activation_backward", n, aligned_16({h, da, dh, a}),
                                        UnitBackward<decltype(kind)::value, T>{h, da, dh, a});
    });
  });
}

}  // namespace triptych::kernels
