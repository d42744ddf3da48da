// Sums over rows, for sum_rows itself and for the kernels that end in one: in chunks of rows that depend on the shape
// alone, whose sums are added up by a second kernel.
#pragma once

#include <cstdint>

#include "kernels/cuda/common.cuh"

namespace triptych::cuda {

/// A block that sums columns: each of its warps takes every kSumWarps-th row, each lane N neighbouring columns.
inline constexpr int kSumWarps = kBlockThreads / kWarpSize;

/// The columns of one block.
template <int N>
inline constexpr int kSumColumns = N* kWarpSize;

/// One float for each of the columns of each warp.
template <int N>
using SumsOfWarps = float[kSumWarps][kSumColumns<N>];

/// Adds up what the block's warps have for their columns, in the order of the warps: the sum of column threadIdx.x + j
/// * kBlockThreads of the block's goes to `take(column, sum)`. All threads take part.
template <int N, typename Take>
__device__ inline void sum_warps(const Floats<N>& of_lane, SumsOfWarps<N>& shared, const Take& take) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  __syncthreads();  // what was in `shared` has been read
#pragma unroll
  for (int i = 0; i < N; ++i) shared[warp][lane * N + i] = of_lane[i];
  __syncthreads();
  for (int column = threadIdx.x; column < kSumColumns<N>; column += kBlockThreads) {
    float sum = shared[0][column];
#pragma unroll
    for (int w = 1; w < kSumWarps; ++w) sum += shared[w][column];
    take(column, sum);
  }
}

/// The sum over this warp's rows of [begin, end): x[r * stride + i] for the lane's columns i of `piece`.
template <int N, typename T>
__device__ inline Floats<N> sum_rows_of_warp(const T* x, int64_t begin, int64_t end, int64_t stride, Piece<N> piece) {
  constexpr int kUnroll = 4;  // loads on their way at once
  Floats<N> sum{};
  int64_t row = begin + threadIdx.x / kWarpSize;
  for (; row + (kUnroll - 1) * kSumWarps < end; row += kUnroll * kSumWarps) {
    Floats<N> loaded[kUnroll];
#pragma unroll
    for (int k = 0; k < kUnroll; ++k) loaded[k] = load<N>(x + (row + k * kSumWarps) * stride, piece);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] += (loaded[0][i] + loaded[1][i]) + (loaded[2][i] + loaded[3][i]);
  }
  for (; row < end; row += kSumWarps) {
    const Floats<N> loaded = load<N>(x + row * stride, piece);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] += loaded[i];
  }
  return sum;
}

/// Queues out[c] += the sum over k of partials[k, 0, c], summed in double, and the like for partials[k, 1, c] and
/// `second` if it is not null: partials is [num_partials, 1 or 2, cols].
void sum_partials(Stream& stream, const float* partials, int64_t num_partials, int64_t cols, float* out,
                  float* second = nullptr);

}  // namespace triptych::cuda
