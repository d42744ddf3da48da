// dtable[row] += dout[i] for each i in order: the i are grouped by row (stable_order), and each row's group is added up
// by whoever has it. Most rows have a few; a padding or an end token may have half of all.
#include "base/checked.h"
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/stable_order.cuh"
#include "kernels/embedding.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

/// A group of more than this is a block's for each 32 of its columns, else a warp's for each 32 * N.
constexpr uint32_t kLongGroup = kBlockThreads;

template <typename T>
struct Groups {
  TableRows rows;
  const uint32_t* order;
  uint32_t n;
  const T* dout;
  float* dtable;
  int64_t cols;
  bool aligned;

  /// The table row at a position of the order, or vocab_local.
  __device__ uint32_t row_at(uint32_t position) const { return rows(order[position]); }
  /// Whether the group of `row`, which has position `first`, has the `distance`-th after it too.
  __device__ bool reaches(uint32_t first, uint32_t distance, uint32_t row) const {
    return distance < n - first && row_at(first + distance) == row;
  }
};

/// A warp looks at one position of the order, and takes the group that begins there.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) add_short_groups(Groups<T> groups) {
  constexpr int N = kVectorSize<T>;
  constexpr uint32_t kUnroll = 4;  // loads on their way at once
  const uint32_t lane = threadIdx.x % kWarpSize;
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * kWarpSize + lane) * N;
  const Piece<N> piece = piece_of<N>(groups.cols - column, groups.aligned);
  const auto head = static_cast<uint32_t>(grid_thread() / kWarpSize);
  if (head >= groups.n) return;
  const uint32_t row = groups.row_at(head);
  if (row == groups.rows.vocab_local || (head > 0 && groups.row_at(head - 1) == row) ||
      groups.reaches(head, kLongGroup, row)) {
    return;
  }
  const bool here = column < groups.cols;
  float* to = groups.dtable + row * groups.cols + column;
  Floats<N> sum{};
  if (here) sum = load<N>(to, piece);
  for (uint32_t begin = 0;; begin += kWarpSize) {
    // The next 32 of the order: a lane has one.
    const bool mine = groups.reaches(head, begin + lane, row);
    const uint32_t i_of_lane = mine ? groups.order[head + begin + lane] : 0;
    const auto count = static_cast<uint32_t>(__popc(__ballot_sync(kFullMask, mine)));
    for (uint32_t k = 0; k < count; k += kUnroll) {
      Floats<N> loaded[kUnroll] = {};
#pragma unroll
      for (uint32_t u = 0; u < kUnroll; ++u) {
        const int64_t i = __shfl_sync(kFullMask, i_of_lane, static_cast<int>((k + u) % kWarpSize));
        if (here && k + u < count) loaded[u] = load<N>(groups.dout + i * groups.cols + column, piece);
      }
#pragma unroll
      for (uint32_t u = 0; u < kUnroll; ++u) {
        if (k + u >= count) break;
#pragma unroll
        for (int j = 0; j < N; ++j) sum[j] += loaded[u][j];
      }
    }
    if (count < kWarpSize) break;
  }
  if (here) store(sum, to, piece);
}

/// Where the group of `row` ends that has position `first`: each thread looks at one of 256 places between what is
/// known to be in it and what may be, until these are neighbours.
template <typename T>
__device__ inline uint32_t end_of_group(const Groups<T>& groups, uint32_t first, uint32_t row, int* shared) {
  for (uint32_t size = groups.n - first;;) {
    const uint32_t step = (size + kBlockThreads - 1) / kBlockThreads;
    const bool in_group = threadIdx.x * step < size && groups.reaches(first, threadIdx.x * step, row);
    first += (block_sum<kBlockThreads>(static_cast<int>(in_group), shared) - 1) * step;
    if (step == 1) return first + 1;
    size = min(step, groups.n - first);
  }
}

/// A block looks at every kLongGroup-th position, and takes the group of which it is the first such one. The rows of
/// dout pass through shared memory a tile at a time, the next one on its way, while one warp adds up a column a lane:
/// nothing may change the order.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads, 4) add_long_groups(Groups<T> groups) {
  constexpr int N = kVectorSize<T>;
  constexpr int kColumns = kWarpSize;
  constexpr int kLanesOfRow = kColumns / N;
  constexpr int kRowsOfLoad = kBlockThreads / kLanesOfRow;
  constexpr int kLoads = 4;
  constexpr int kTileRows = kRowsOfLoad * kLoads;
  __shared__ int shared[kBlockThreads / kWarpSize];
  __shared__ alignas(16) T tile[kTileRows][kColumns];

  const uint32_t seen = blockIdx.x * kLongGroup;
  const uint32_t row = groups.row_at(seen);
  if (row == groups.rows.vocab_local || (seen > 0 && groups.row_at(seen - kLongGroup) == row)) return;
  const bool before = threadIdx.x <= seen && groups.row_at(seen - threadIdx.x) == row;
  const uint32_t head = seen + 1 - block_sum<kBlockThreads>(static_cast<int>(before), shared);
  if (!groups.reaches(head, kLongGroup, row)) return;
  const uint32_t end = end_of_group(groups, head, row, shared);

  const int64_t first_column = static_cast<int64_t>(blockIdx.y) * kColumns;
  const int column = static_cast<int>(threadIdx.x) % kLanesOfRow * N, row_of_load = threadIdx.x / kLanesOfRow;
  Packed<T, N> next[kLoads] = {};
  const auto load_tile = [&](uint32_t begin) {
    if (first_column + column >= groups.cols) return;
    const Piece<N> piece = piece_of<N>(groups.cols - first_column - column, groups.aligned);
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      const uint32_t position = begin + k * kRowsOfLoad + row_of_load;
      if (position >= end) continue;
      next[k] = load_packed(groups.dout + groups.order[position] * groups.cols + first_column + column, piece);
    }
  };
  float* to = groups.dtable + row * groups.cols + first_column + threadIdx.x;
  const bool adds = threadIdx.x < kColumns && first_column + threadIdx.x < groups.cols;
  float sum = adds ? *to : 0.0f;
  load_tile(head);
  for (uint32_t begin = head; begin < end; begin += kTileRows) {
    if (first_column + column < groups.cols) {
#pragma unroll
      for (int k = 0; k < kLoads; ++k) {
        const int r = k * kRowsOfLoad + row_of_load;
        if (begin + r < end) store_words(next[k].words, &tile[r][column]);
      }
    }
    __syncthreads();
    load_tile(begin + kTileRows);
    if (adds) {
      const int count = min(end - begin, uint32_t{kTileRows});
#pragma unroll 8
      for (int r = 0; r < count; ++r) sum += to_float(tile[r][threadIdx.x]);
    }
    __syncthreads();
  }
  if (adds) *to = sum;
}

}  // namespace

void embedding_backward(Stream& stream, const EmbeddingBackwardArgs& args) {
  with_float_type(args.dtype, "embedding_backward", [&](auto tag) {
    if (args.n <= 0 || args.cols <= 0 || args.vocab_local <= 0) return;
    using T = typename decltype(tag)::Type;
    constexpr int64_t kBytes = sizeof(T);
    constexpr int64_t kWarps = kBlockThreads / kWarpSize;
    const TableRows rows{args.ids, args.vocab_begin, narrow<uint32_t>(args.vocab_local)};
    const Groups<T> groups{rows,
                           stable_order(stream, rows, args.n, stream.scratch(stable_order_bytes(args.n))),
                           static_cast<uint32_t>(args.n),
                           static_cast<const T*>(args.dout),
                           args.dtable,
                           args.cols,
                           aligned_16({args.dout, args.dtable}, {args.cols * kBytes})};
    const dim3 short_grid(narrow<unsigned>(ceil_div(args.n, kWarps)),
                          narrow<unsigned>(ceil_div(args.cols, kWarpSize * kVectorSize<T>)));
    add_short_groups<T><<<short_grid, kBlockThreads, 0, cuda_stream(stream)>>>(groups);
    check_launch("add_short_groups");
    if (args.n <= kLongGroup) return;  // there can be none
    const dim3 long_grid(narrow<unsigned>(ceil_div(args.n, int64_t{kLongGroup})),
                         narrow<unsigned>(ceil_div(args.cols, kWarpSize)));
    add_long_groups<T><<<long_grid, kBlockThreads, 0, cuda_stream(stream)>>>(groups);
    check_launch("add_long_groups");
  });
}

}  // namespace triptych::kernels
