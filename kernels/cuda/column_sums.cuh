// Sums over rows, for sum_rows itself and for the kernels that sum on the way or at their end: in chunks of rows that
// depend on the shape alone, whose sums are added up by a second kernel.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "base/checked.h"
#include "kernels/cuda/common.cuh"
#include "kernels/sum_target.h"

namespace triptych::kernels::cuda {

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

/// The sum over this warp's rows of [begin, end) of what load_row(row) gives for the lane's columns, kUnroll loads on
/// their way at once.
template <int N, int kUnroll, typename LoadRow>
__device__ inline Floats<N> sum_rows_of_warp(int64_t begin, int64_t end, const LoadRow& load_row) {
  Floats<N> sum{};
  int64_t row = begin + threadIdx.x / kWarpSize;
  for (; row + (kUnroll - 1) * kSumWarps < end; row += kUnroll * kSumWarps) {
    Floats<N> loaded[kUnroll];
#pragma unroll
    for (int k = 0; k < kUnroll; ++k) loaded[k] = load_row(row + k * kSumWarps);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      float of_rows = 0.0f;
#pragma unroll
      for (int k = 0; k < kUnroll; k += 2) of_rows += loaded[k][i] + loaded[k + 1][i];
      sum[i] += of_rows;
    }
  }
  for (; row < end; row += kSumWarps) {
    const Floats<N> loaded = load_row(row);
#pragma unroll
    for (int i = 0; i < N; ++i) sum[i] += loaded[i];
  }
  return sum;
}

/// Where the sums of up to three arrays go.
struct SumTargets {
  SumTarget of[3];
};

/// Queues for targets.of[j][c] the sum over k of partials[k, j, c], summed in double, for j < num_targets: partials is
/// [num_partials, num_targets, cols]; of none the sum is 0.
void sum_partials(Stream& stream, const float* partials, int64_t num_partials, int64_t cols, int num_targets,
                  const SumTargets& targets);

/// out[s, c]: the sum over `rows` rows r of what rows.load(s, r, c, piece) gives, Rows::kUnroll rows at a time.
struct SumShape {
  int64_t outer;
  int64_t rows;
  int64_t cols;
  bool aligned;  ///< whether `Rows` may load and store vectors
};

/// A block sums kSumColumns columns over one chunk of rows, and assigns the sums to `partials` if it is not null:
/// [chunks, outer, cols].
template <int N, typename Rows>
__global__ void __launch_bounds__(kBlockThreads)
    sum_columns_kernel(Rows rows, SumShape shape, int64_t chunk_rows, SumTarget out, float* partials) {
  __shared__ SumsOfWarps<N> shared;
  const int64_t begin = blockIdx.y * chunk_rows, end = min(shape.rows, begin + chunk_rows);
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kSumColumns<N>;
  const int64_t column = first_column + threadIdx.x % kWarpSize * N;
  const Piece<N> piece = piece_of<N>(shape.cols - column, shape.aligned);
  for (int64_t s = blockIdx.z; s < shape.outer; s += gridDim.z) {
    Floats<N> sum{};
    if (column < shape.cols) {
      sum =
          sum_rows_of_warp<N, Rows::kUnroll>(begin, end, [&](int64_t row) { return rows.load(s, row, column, piece); });
    }
    sum_warps<N>(sum, shared, [&](int c, float total) {
      if (first_column + c >= shape.cols) return;
      const int64_t at = s * shape.cols + first_column + c;
      if (partials == nullptr) {
        out.data[at] = out.assign ? total : out.data[at] + total;
      } else {
        partials[blockIdx.y * shape.outer * shape.cols + at] = total;
      }
    });
  }
}

/// Queues the sums of `rows`, N columns a lane. In so many chunks that about a thousand blocks have work, several for
/// each SM, but no chunk is less than eight rows a warp. Uses the stream's scratch.
template <int N, typename Rows>
void sum_columns(Stream& stream, std::string_view kernel, const Rows& rows, const SumShape& shape, SumTarget out) {
  if (shape.cols <= 0 || shape.outer <= 0) return;
  if (shape.rows <= 0) return sum_partials(stream, nullptr, 0, shape.outer * shape.cols, 1, {{out}});
  const int64_t column_blocks = ceil_div(shape.cols, kSumColumns<N>);
  const int64_t useful = ceil_div(shape.rows, int64_t{8} * kSumWarps);
  const int64_t wanted = std::clamp(ceil_div(1024, column_blocks * shape.outer), int64_t{1}, useful);
  const int64_t chunk_rows = ceil_div(shape.rows, wanted);
  const int64_t chunks = ceil_div(shape.rows, chunk_rows), sums = shape.outer * shape.cols;
  float* const partials =
      chunks == 1 ? nullptr
                  : reinterpret_cast<float*>(stream.scratch(static_cast<std::size_t>(chunks * sums) * sizeof(float)));
  const dim3 grid(narrow<unsigned>(column_blocks), narrow<unsigned>(chunks),
                  static_cast<unsigned>(std::min<int64_t>(shape.outer, 65535)));
  sum_columns_kernel<N><<<grid, kBlockThreads, 0, cuda_stream(stream)>>>(rows, shape, chunk_rows, out, partials);
  check_launch(kernel);
  if (partials != nullptr) sum_partials(stream, partials, chunks, sums, 1, {{out}});
}

}  // namespace triptych::kernels::cuda
