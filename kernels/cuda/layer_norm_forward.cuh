// The forward layer norm, of rows that lie in memory or are made as they are read.
#pragma once

#include "kernels/cuda/layer_norm_rows.cuh"
#include "kernels/layer_norm.h"

namespace triptych::kernels::cuda {

/// A row's elements as they lie in x.
template <typename T>
struct StoredRow {
  const T* x;
  int64_t cols;
  template <int N>
  __device__ Floats<N> operator()(int64_t row, int64_t c, Piece<N> piece) const {
    return load<N>(x + row * cols + c, piece);
  }
};

/// `first(row, c, piece)` gives the elements of x when they are wanted first; the rows that registers do not hold are
/// then read from args.x. 512 threads a multiprocessor suffice: for more the compiler would spill.
template <typename T, typename Row, typename First>
__global__ void __launch_bounds__(Row::kBlock, 512 / Row::kBlock)
    layer_norm_forward_kernel(LayerNormForwardArgs args, First first, bool aligned) {
  constexpr int N = Row::N;
  __shared__ float shared[Row::kBlock / kWarpSize];
  const Row part{args.cols, aligned};
  const auto num_cols = static_cast<float>(args.cols);
  for (int64_t row = Row::first_row(); row < args.rows; row += Row::row_step()) {
    const T* x = static_cast<const T*>(args.x) + row * args.cols;
    T* y = static_cast<T*>(args.y) + row * args.cols;
    Floats<N> kept[Row::kPieces] = {};

    const bool is_centred = args.mean != nullptr;
    float sum = 0.0f;
    const auto add = [&](const Floats<N>& values) {
#pragma unroll
      for (int k = 0; k < N; ++k) sum += values[k];  // zeros beyond the row
    };
    part.each_kept([&](int p, int64_t i, Piece<N> piece) { kept[p] = first(row, i, piece); });
    if (is_centred) part.each_kept([&](int p, int64_t, Piece<N>) { add(kept[p]); });
    // Even where no sum is wanted: `first` may write what it gives.
    part.each_other([&](int64_t i, Piece<N> piece) { add(first(row, i, piece)); });
    const float mean = is_centred ? Row::sum(sum, shared) / num_cols : 0.0f;

    float squares = 0.0f;
    const auto add_square = [&](const Floats<N>& values, Piece<N> piece) {
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float deviation = k < piece.count ? values[k] - mean : 0.0f;
        squares = fmaf(deviation, deviation, squares);
      }
    };
    part.each_kept([&](int p, int64_t, Piece<N> piece) { add_square(kept[p], piece); });
    part.each_other([&](int64_t i, Piece<N> piece) { add_square(load<N>(x + i, piece), piece); });
    const float rstd = 1.0f / sqrtf(Row::sum(squares, shared) / num_cols + args.epsilon);

    const auto write = [&](int64_t i, Piece<N> piece, Floats<N> values) {
      const Floats<N> weight = load<N>(args.weight + i, piece);
      Floats<N> bias{};
      if (args.bias != nullptr) bias = load<N>(args.bias + i, piece);
#pragma unroll
      for (int k = 0; k < N; ++k) values[k] = fmaf((values[k] - mean) * rstd, weight[k], bias[k]);
      store(values, y + i, piece);
    };
    part.each_kept([&](int p, int64_t i, Piece<N> piece) { write(i, piece, kept[p]); });
    part.each_other([&](int64_t i, Piece<N> piece) { write(i, piece, load<N>(x + i, piece)); });
    if (part.leads()) {
      if (is_centred) args.mean[row] = mean;
      args.rstd[row] = rstd;
    }
  }
}

/// Queues it. `aligned`: whether each array may be loaded by vectors at multiples of N in every row.
template <typename T, typename First>
void launch_layer_norm_forward(Stream& stream, std::string_view kernel, const LayerNormForwardArgs& args,
                               const First& first, bool aligned) {
  if (args.rows <= 0) return;
  with_row<T, 32>(args.cols, [&](auto row_tag) {
    using Row = typename decltype(row_tag)::Type;
    const unsigned blocks = grid_blocks(args.rows, Row::kRowsPerBlock);
    layer_norm_forward_kernel<T, Row><<<blocks, Row::kBlock, 0, cuda_stream(stream)>>>(args, first, aligned);
    check_launch(kernel);
  });
}

}  // namespace triptych::kernels::cuda
