// sum_rows and sum_positions of kernels/elementwise.h.
#include <algorithm>

#include "base/checked.h"
#include "kernels/cuda/column_sums.cuh"
#include "kernels/elementwise.h"

namespace triptych {
namespace {

using namespace cuda;

/// out[s, c] += the sum over rows r of x[s * outer_stride + r * row_stride + c].
template <typename T>
struct Sums {
  const T* x;
  float* out;       ///< [outer, cols]
  float* partials;  ///< [chunks, outer, cols], assigned instead of `out` if there are several chunks
  int64_t rows;
  int64_t chunk_rows;
  int64_t cols;
  int64_t row_stride;
  int64_t outer;
  int64_t outer_stride;
  bool aligned;
};

/// A block sums kSumColumns columns over one chunk of rows.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) sum_rows_kernel(Sums<T> args) {
  constexpr int N = kVectorSize<T>;
  __shared__ SumsOfWarps<N> shared;
  const int64_t begin = blockIdx.y * args.chunk_rows, end = min(args.rows, begin + args.chunk_rows);
  const int64_t first_column = static_cast<int64_t>(blockIdx.x) * kSumColumns<N>;
  const int64_t column = first_column + threadIdx.x % kWarpSize * N;
  for (int64_t s = blockIdx.z; s < args.outer; s += gridDim.z) {
    Floats<N> sum{};
    if (column < args.cols) {
      sum = sum_rows_of_warp(args.x + s * args.outer_stride + column, begin, end, args.row_stride,
                             piece_of<N>(args.cols - column, args.aligned));
    }
    sum_warps<N>(sum, shared, [&](int c, float total) {
      if (first_column + c >= args.cols) return;
      const int64_t at = s * args.cols + first_column + c;
      if (args.partials == nullptr) {
        args.out[at] += total;
      } else {
        args.partials[blockIdx.y * args.outer * args.cols + at] = total;
      }
    });
  }
}

/// In so many chunks that about a thousand blocks have work, several for each SM, but no chunk is less than eight rows
/// a warp.
int64_t num_chunks(int64_t rows, int64_t blocks_of_a_chunk) {
  const int64_t useful = ceil_div(rows, int64_t{8} * kSumWarps);
  return std::clamp(ceil_div(1024, blocks_of_a_chunk), int64_t{1}, useful);
}

template <typename T>
void sum(Stream& stream, const char* kernel, Sums<T> args) {
  if (args.rows <= 0 || args.cols <= 0 || args.outer <= 0) return;
  constexpr int64_t kBytes = sizeof(T);
  args.aligned = aligned_16({args.x}, {args.row_stride * kBytes, args.outer_stride * kBytes});
  const int64_t column_blocks = ceil_div(args.cols, kSumColumns<kVectorSize<T>>);
  args.chunk_rows = ceil_div(args.rows, num_chunks(args.rows, column_blocks * args.outer));
  const int64_t chunks = ceil_div(args.rows, args.chunk_rows);
  if (chunks > 1) {
    args.partials = reinterpret_cast<float*>(
        stream.scratch(static_cast<std::size_t>(chunks * args.outer * args.cols) * sizeof(float)));
  }
  const dim3 grid(narrow<unsigned>(column_blocks), narrow<unsigned>(chunks),
                  static_cast<unsigned>(std::min<int64_t>(args.outer, 65535)));
  sum_rows_kernel<T><<<grid, kBlockThreads, 0, cuda_stream(stream)>>>(args);
  check_launch(kernel);
  if (chunks > 1) {
    sum_partials(stream, args.partials, chunks, args.outer * args.cols, args.out);
  }
}

}  // namespace

void sum_rows(Stream& stream, const SumRowsArgs& args) {
  TRIPTYCH_CHECK(args.row_stride >= args.cols, "Rows of {} elements overlap with a stride of {}.", args.cols,
                 args.row_stride);
  with_float_type(args.dtype, "sum_rows", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    Sums<T> sums{};
    sums.x = static_cast<const T*>(args.x);
    sums.out = args.out;
    sums.rows = args.rows;
    sums.cols = args.cols;
    sums.row_stride = args.row_stride;
    sums.outer = 1;
    sum(stream, "sum_rows", sums);
  });
}

void sum_positions(Stream& stream, const SumPositionsArgs& args) {
  with_float_type(args.dtype, "sum_positions", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    Sums<T> sums{};
    sums.x = static_cast<const T*>(args.dx);
    sums.out = args.dpos;
    sums.rows = args.batch;
    sums.cols = args.cols;
    sums.row_stride = args.batch_stride;
    sums.outer = args.seq;
    sums.outer_stride = args.row_stride;
    sum(stream, "sum_positions", sums);
  });
}

}  // namespace triptych
