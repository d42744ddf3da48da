#include "kernels/cuda/common.cuh"
#include "kernels/tanh.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

template <typename T>
struct TanhForward {
  const T* x;
  T* y;
  template <int N>
  __device__ void operator()(int64_t i, Piece<N> piece) const {
    Floats<N> values = load<N>(x + i, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) values[k] = tanhf(values[k]);
    store(values, y + i, piece);
  }
};

template <typename T>
struct TanhBackward {
  const T* y;
  const T* dy;
  T* dx;
  template <int N>
  __device__ void operator()(int64_t i, Piece<N> piece) const {
    const Floats<N> result = load<N>(y + i, piece);
    Floats<N> gradient = load<N>(dy + i, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) gradient[k] *= (1.0f - result[k]) * (1.0f + result[k]);
    store(gradient, dx + i, piece);
  }
};

}  // namespace

void tanh_forward(Stream& stream, const void* x, void* y, int64_t n, DType dtype) {
  with_float_type(dtype, "tanh_forward", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    launch_each_piece<kVectorSize<T>>(stream, "tanh_forward", n, aligned_16({x, y}),
                                      TanhForward<T>{static_cast<const T*>(x), static_cast<T*>(y)});
  });
}

void tanh_backward(Stream& stream, const TanhBackwardArgs& args) {
  with_float_type(args.dtype, "tanh_backward", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    launch_each_piece<kVectorSize<T>>(
        stream, "tanh_backward", args.n, aligned_16({args.y, args.dy, args.dx}),
        TanhBackward<T>{static_cast<const T*>(args.y), static_cast<const T*>(args.dy), static_cast<T*>(args.dx)});
  });
}

}  // namespace triptych::kernels
