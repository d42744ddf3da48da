#include "kernels/cuda/dropout.cuh"
#include "kernels/cuda/layer_norm_backward.cuh"
#include "kernels/residual_checks.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

/// dx goes on to the residual branch, whose gradient's sum is its bias's.
template <typename T>
struct ResidualBranch : BranchGradient<T> {
  static constexpr int kNumSums = 1;
  static constexpr int kElements = 16;
  using BranchGradient<T>::BranchGradient;
};

}  // namespace

void residual_norm_backward(Stream& stream, const LayerNormBackwardArgs& norm, const ResidualBackwardArgs& residual) {
  check_residual_norm_backward(norm, residual);
  with_float_type(norm.dtype, "residual_norm_backward", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int64_t kBytes = sizeof(T);
    launch_layer_norm_backward<T>(
        stream, "residual_norm_backward", norm, ResidualBranch<T>(residual), residual.dbias,
        aligned_16({norm.dy, norm.x, norm.weight, norm.add, norm.dx, residual.dz}, {norm.cols * kBytes}));
  });
}

}  // namespace triptych::kernels
