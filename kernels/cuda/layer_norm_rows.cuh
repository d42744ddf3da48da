// How the layer norm kernels share out a row: a warp takes a short one, a block a longer one, and a thread keeps its
// elements in registers. Only what is beyond 8192 elements (4096 where a residual branch follows) is read again. The
// sums' order depends on the length of the row alone.
#pragma once

#include "kernels/cuda/common.cuh"

namespace triptych::kernels::cuda {

/// A row is kThreads threads', each of which keeps up to kElements of each array; they are one of the warps of a block
/// of kBlockThreads, or a block.
template <typename T, int kThreads, int kElements>
struct RowOfThreads {
  static constexpr int N = kVectorSize<T>;
  static constexpr int kPieces = kElements / N;
  static constexpr int kStep = kThreads * N;  ///< from a thread's piece to its next
  static constexpr bool kIsWarp = kThreads == kWarpSize;
  static constexpr int kBlock = kIsWarp ? kBlockThreads : kThreads;
  static constexpr int kRowsPerBlock = kBlock / kThreads;

  int64_t cols;
  bool aligned;

  static __device__ int64_t first_row() {
    return static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + static_cast<int>(threadIdx.x) / kThreads;
  }
  static __device__ int64_t row_step() { return static_cast<int64_t>(gridDim.x) * kRowsPerBlock; }

  /// One thread of the row.
  __device__ bool leads() const { return threadIdx.x % kThreads == 0; }

  __device__ Piece<N> piece(int64_t i) const { return piece_of<N>(cols - i, aligned); }

  /// f(p, i, piece): the thread's p-th piece begins at element i, for those whose elements are kept in registers.
  template <typename F>
  __device__ void each_kept(const F& f) const {
#pragma unroll
    for (int p = 0; p < kPieces; ++p) {
      const int64_t i = p * kStep + static_cast<int64_t>(threadIdx.x % kThreads) * N;
      if (i < cols) f(p, i, piece(i));
    }
  }

  /// f(i, piece) for the others, which only the longest kind of row has.
  template <typename F>
  __device__ void each_other(const F& f) const {
    if constexpr (kThreads == kBlockThreads) {
      for (int64_t i = kPieces * kStep + static_cast<int64_t>(threadIdx.x) * N; i < cols; i += kStep) f(i, piece(i));
    }
  }

  /// Over the threads of the row.
  static __device__ float sum(float value, float* shared) {
    if constexpr (kIsWarp) {
      return warp_sum(value);
    } else {
      return block_sum<kThreads>(value, shared);
    }
  }
};

/// f(TypeTag<RowOfThreads<T, ...>>()) for rows of `cols` elements: as few threads as keep the row in registers, up to
/// kElements of each array a thread, since a thread without elements costs as many registers, and what an SM has of
/// them limits its loads on their way.
template <typename T, int kElements, typename F>
void with_row(int64_t cols, const F& f) {
  if (cols <= 32 * kElements) {
    f(TypeTag<RowOfThreads<T, 32, kElements>>());
  } else if (cols <= 128 * 16) {
    f(TypeTag<RowOfThreads<T, 128, 16>>());
  } else {
    f(TypeTag<RowOfThreads<T, 256, kElements>>());
  }
}

}  // namespace triptych::kernels::cuda
