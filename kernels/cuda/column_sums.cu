#include "base/checked.h"
#include "kernels/cuda/column_sums.cuh"

namespace triptych::kernels::cuda {
namespace {

constexpr int kColumns = 32;  // of a block; the rest of its threads share the partial sums
constexpr int kGroups = 16;

__global__ void __launch_bounds__(kColumns* kGroups)
    sum_partials_kernel(const float* partials, int64_t num_partials, int64_t cols, int64_t width, SumTargets targets) {
  __shared__ double sums[kGroups][kColumns];
  const int lane = threadIdx.x % kColumns, group = threadIdx.x / kColumns;
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kColumns + lane;
  double sum = 0.0;
  if (c < width) {
#pragma unroll 4
    for (int64_t k = group; k < num_partials; k += kGroups) sum += static_cast<double>(partials[k * width + c]);
  }
  sums[group][lane] = sum;
  __syncthreads();
  if (group != 0 || c >= width) return;
#pragma unroll
  for (int g = 1; g < kGroups; ++g) sum += sums[g][lane];
  const int64_t j = c / cols;
  const SumTarget& target = j == 0 ? targets.of[0] : j == 1 ? targets.of[1] : targets.of[2];
  if (target.data == nullptr) return;
  float* const to = target.data + (c - j * cols);
  *to = static_cast<float>(target.assign ? sum : static_cast<double>(*to) + sum);
}

}  // namespace

void sum_partials(Stream& stream, const float* partials, int64_t num_partials, int64_t cols, int num_targets,
                  const SumTargets& targets) {
  if (cols <= 0) return;
  const int64_t width = num_targets * cols;
  sum_partials_kernel<<<narrow<unsigned>(ceil_div(width, kColumns)), kColumns * kGroups, 0, cuda_stream(stream)>>>(
      partials, num_partials, cols, width, targets);
  check_launch("sum_partials");
}

}  // namespace triptych::kernels::cuda
