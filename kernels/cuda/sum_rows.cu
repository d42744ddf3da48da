// sum_rows and sum_positions of kernels/elementwise.h.
#include "base/error.h"
#include "kernels/cuda/column_sums.cuh"
#include "kernels/elementwise.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

/// x[s * outer_stride + r * row_stride + c].
template <typename T>
struct StoredRows {
  static constexpr int kUnroll = 4;
  const T* x;
  int64_t row_stride;
  int64_t outer_stride;

  template <int N>
  __device__ Floats<N> load(int64_t s, int64_t row, int64_t column, Piece<N> piece) const {
    return cuda::load<N>(x + s * outer_stride + row * row_stride + column, piece);
  }
};

template <typename T>
void sum(Stream& stream, std::string_view kernel, const StoredRows<T>& rows, SumShape shape, SumTarget out) {
  constexpr int64_t kBytes = sizeof(T);
  shape.aligned = aligned_16({rows.x}, {rows.row_stride * kBytes, rows.outer_stride * kBytes});
  sum_columns<kVectorSize<T>>(stream, kernel, rows, shape, out);
}

}  // namespace

void sum_rows(Stream& stream, const SumRowsArgs& args) {
  TRIPTYCH_CHECK(args.row_stride >= args.cols, "Rows of {} elements overlap with a stride of {}.", args.cols,
                 args.row_stride);
  with_float_type(args.dtype, "sum_rows", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    sum(stream, "sum_rows", StoredRows<T>{static_cast<const T*>(args.x), args.row_stride, 0},
        {.outer = 1, .rows = args.rows, .cols = args.cols}, args.out);
  });
}

void sum_positions(Stream& stream, const SumPositionsArgs& args) {
  with_float_type(args.dtype, "sum_positions", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    sum(stream, "sum_positions", StoredRows<T>{static_cast<const T*>(args.dx), args.batch_stride, args.row_stride},
        {.outer = args.seq, .rows = args.batch, .cols = args.cols}, args.dpos);
  });
}

}  // namespace triptych::kernels
