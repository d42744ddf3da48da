// One launch for many tensors: their addresses travel as the kernel's parameters, so that nothing is copied to the
// device first.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

#include "base/error.h"
#include "kernels/cuda/common.cuh"

namespace triptych::kernels::cuda {

/// As many tensors as a launch takes: 4 KiB of parameters are all that every GPU and driver has.
/// `Tensor` has a member `n`, its number of elements.
template <typename Tensor>
struct TensorList {
  static constexpr int kOtherParameterBytes = 64;
  static constexpr int kCapacity =
      static_cast<int>((4096 - kOtherParameterBytes - 16) / (sizeof(Tensor) + sizeof(uint32_t)));

  Tensor tensors[kCapacity];
  uint32_t end_block[kCapacity];  ///< the first block after each tensor's
  int32_t count;
};

/// What one block of threads works on.
struct TensorPiece {
  int tensor;
  int64_t begin, end;  ///< elements of it; `begin` is a multiple of the elements of a block
};

template <int64_t kBlockElements, typename Tensor>
__device__ inline TensorPiece piece_of_block(const TensorList<Tensor>& list) {
  int first = 0, last = list.count - 1;  // the tensor is among these
  while (first < last) {
    const int middle = (first + last) / 2;
    if (blockIdx.x < list.end_block[middle]) {
      last = middle;
    } else {
      first = middle + 1;
    }
  }
  const uint32_t block = blockIdx.x - (first > 0 ? list.end_block[first - 1] : 0u);
  const int64_t begin = static_cast<int64_t>(block) * kBlockElements, n = list.tensors[first].n;
  return {first, begin, n - begin < kBlockElements ? n : begin + kBlockElements};
}

/// Calls launch(list, num_blocks) for lists of all tensors that have elements, a block of threads for `kBlockElements`.
/// Returns the number of blocks in all.
template <int64_t kBlockElements, typename Tensor, typename Launch>
int64_t for_tensor_lists(std::span<const Tensor> tensors, const Launch& launch) {
  // A grid has fewer than 2^31 blocks; pieces are counted in 32 bits.
  constexpr int64_t kMaxGrid = INT32_MAX;
  TensorList<Tensor> list;
  int64_t list_blocks = 0, all_blocks = 0;
  list.count = 0;
  const auto flush = [&] {
    if (list.count > 0) launch(std::as_const(list), static_cast<unsigned>(list_blocks));
    all_blocks += list_blocks;
    list_blocks = list.count = 0;
  };
  for (const Tensor& tensor : tensors) {
    const int64_t blocks = (tensor.n + kBlockElements - 1) / kBlockElements;
    if (blocks <= 0) continue;
    TRIPTYCH_CHECK(blocks <= kMaxGrid, "a tensor of {} elements", tensor.n);
    if (list.count == TensorList<Tensor>::kCapacity || list_blocks + blocks > kMaxGrid) flush();
    list_blocks += blocks;
    list.tensors[list.count] = tensor;
    list.end_block[list.count++] = static_cast<uint32_t>(list_blocks);
  }
  flush();
  return all_blocks;
}

}  // namespace triptych::kernels::cuda
