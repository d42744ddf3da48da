#include <vector>

#include "kernels/cuda/multi_tensor.cuh"
#include "kernels/weight_average.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

constexpr int64_t kBlockElements = 4096;

/// An AverageTensor, and whether both addresses are aligned for 16-byte accesses.
struct Tensor {
  float* average;
  const float* value;
  int64_t n;
  bool vectors;
};

__global__ void __launch_bounds__(kBlockThreads)
    average_kernel(const __grid_constant__ TensorList<Tensor> list, float rest, const UpdateState* state) {
  if (state->apply == 0) return;
  const TensorPiece piece = piece_of_block<kBlockElements>(list);
  const Tensor& t = list.tensors[piece.tensor];
  for (int64_t i = piece.begin + threadIdx.x * 4; i < piece.end; i += kBlockThreads * 4) {
    const Piece<4> elements = piece_of<4>(piece.end - i, t.vectors);
    const Floats<4> value = load(t.value + i, elements);
    Floats<4> average = load(t.average + i, elements);
#pragma unroll
    for (int j = 0; j < 4; ++j) average[j] = __fmaf_rn(rest, __fsub_rn(value[j], average[j]), average[j]);
    store(average, t.average + i, elements);
  }
}

}  // namespace

void update_averages(Stream& stream, const WeightAverageArgs& args) {
  std::vector<Tensor> tensors;
  tensors.reserve(args.tensors.size());
  for (const AverageTensor& t : args.tensors) {
    tensors.push_back({t.average, t.value, t.n, aligned_16({t.average, t.value})});
  }
  const auto rest = static_cast<float>(1 - args.decay);
  for_tensor_lists<kBlockElements, Tensor>(tensors, [&](const TensorList<Tensor>& list, unsigned blocks) {
    average_kernel<<<blocks, kBlockThreads, 0, cuda_stream(stream)>>>(list, rest, args.state);
    check_launch("update_averages");
  });
}

}  // namespace triptych::kernels
