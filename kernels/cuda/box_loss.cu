#include "kernels/box_loss.h"
#include "kernels/box_loss_row.h"
#include "kernels/cuda/common.cuh"

namespace triptych::kernels {
namespace {

using namespace cuda;

// One block: a batch has few boxes.
__global__ void __launch_bounds__(kBlockThreads) box_loss_kernel(BoxLossArgs args) {
  __shared__ double warps[kBlockThreads / kWarpSize];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < args.rows; i += kBlockThreads) {
    BoxLossRow row;
    if (args.present[i] >= 0) row = box_loss_row(args.boxes + 4 * i, args.truths + 4 * i, args.l1, args.giou);
    sum += row.loss;
#pragma unroll
    for (int k = 0; k < 4; ++k) args.gradients[4 * i + k] = static_cast<float>(row.gradient[k]);
  }
  sum = block_sum<kBlockThreads>(sum, warps);
  if (threadIdx.x == 0) *args.loss += sum;
}

}  // namespace

void box_loss(Stream& stream, const BoxLossArgs& args) {
  if (args.rows <= 0) return;
  box_loss_kernel<<<1, kBlockThreads, 0, cuda_stream(stream)>>>(args);
  check_launch("box_loss");
}

}  // namespace triptych::kernels
