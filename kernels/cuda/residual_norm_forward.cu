#include "kernels/cuda/dropout.cuh"
#include "kernels/cuda/layer_norm_forward.cuh"
#include "kernels/residual_checks.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

/// A row of the residual sum, stored, and rounded as it was stored.
template <typename T>
struct SummedRow {
  ResidualSum<T, T> sum;
  T* out;
  template <int N>
  __device__ Floats<N> operator()(int64_t row, int64_t c, Piece<N> piece) const {
    Floats<N> values = sum(row, c, piece);
    store(values, out + row * sum.dropout.cols + c, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) values[k] = k < piece.count ? to_float(from_float<T>(values[k])) : 0.0f;
    return values;
  }
};

}  // namespace

void residual_norm_forward(Stream& stream, const ResidualForwardArgs& residual, const LayerNormForwardArgs& norm) {
  check_residual_norm_forward(residual, norm);
  with_float_type(norm.dtype, "residual_norm_forward", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int64_t kBytes = sizeof(T);
    const bool aligned = aligned_16(
        {residual.x, residual.z, residual.bias, residual.out, norm.weight, norm.bias, norm.y}, {norm.cols * kBytes});
    launch_layer_norm_forward<T>(stream, "residual_norm_forward", norm,
                                 SummedRow<T>{ResidualSum<T, T>(residual), static_cast<T*>(residual.out)}, aligned);
  });
}

}  // namespace triptych::kernels
