#include "kernels/cuda/multi_tensor.cuh"
#include "kernels/optimizer.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

constexpr int64_t kBlockElements = 1 << 14;
constexpr int kFinalThreads = 1024;

/// partial[block] = the sum over a piece of a tensor, in an order that only the piece's length decides.
__global__ void __launch_bounds__(kBlockThreads)
    sum_pieces(const __grid_constant__ TensorList<FloatSpan> list, double* partial) {
  __shared__ double warps[kBlockThreads / kWarpSize];
  const TensorPiece piece = piece_of_block<kBlockElements>(list);
  const float* const data = list.tensors[piece.tensor].data;
  const bool vectors = reinterpret_cast<uintptr_t>(data) % 16 == 0;
  double sum = 0.0;
  for (int64_t i = piece.begin + threadIdx.x * 4; i < piece.end; i += kBlockThreads * 4) {
    const Floats<4> x = load(data + i, piece_of<4>(piece.end - i, vectors));
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
  }
  sum = block_sum<kBlockThreads>(sum, warps);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kFinalThreads) sum_partials(const double* partial, int64_t count, double* result) {
  __shared__ double warps[kFinalThreads / kWarpSize];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < count; i += kFinalThreads) sum += partial[i];
  sum = block_sum<kFinalThreads>(sum, warps);
  if (threadIdx.x == 0) *result = sum;
}

}  // namespace

void sum_of_squares(Stream& stream, std::span<const FloatSpan> tensors, double* sum) {
  const int64_t num_blocks = for_tensor_lists<kBlockElements>(tensors, [](const auto&, unsigned) {});
  auto* const partial =
      reinterpret_cast<double*>(stream.scratch(static_cast<std::size_t>(num_blocks) * sizeof(double)));
  double* list_partial = partial;
  for_tensor_lists<kBlockElements>(tensors, [&](const TensorList<FloatSpan>& list, unsigned blocks) {
    sum_pieces<<<blocks, kBlockThreads, 0, cuda_stream(stream)>>>(list, list_partial);
    check_launch("sum_of_squares");
    list_partial += blocks;
  });
  sum_partials<<<1, kFinalThreads, 0, cuda_stream(stream)>>>(partial, num_blocks, sum);
  check_launch("sum_of_squares");
}

}  // namespace triptych::kernels
