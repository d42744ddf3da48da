// The backward layer norm, with or without a branch that takes dx on.
#pragma once

#include <algorithm>

#include "base/checked.h"
#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/layer_norm_rows.cuh"
#include "kernels/layer_norm.h"

namespace triptych::kernels::cuda {

/// Nothing follows dx.
struct NoBranch {
  static constexpr int kNumSums = 0;
  static constexpr int kElements = 32;
};

/// Writes dx, and this block's sums of dweight and dbias to partials[blockIdx.x, 0 or 1, cols]. A thread has the same
/// columns in all of its rows, so their sums stay in its registers, and dy and x are read once.
///
/// A Branch with kNumSums = 1 is given dx, `branch(dx, row, c, piece)`, and gives what is summed to partials[.., 2,
/// ..]. Its kElements are what a thread may keep of each array, besides what the branch needs, without spilling.
template <typename T, typename Row, typename Branch>
__global__ void __launch_bounds__(Row::kBlock)
    layer_norm_backward_kernel(LayerNormBackwardArgs args, Branch branch, float* partials, bool aligned) {
  constexpr int N = Row::N;
  constexpr int kNumSums = 2 + Branch::kNumSums;
  __shared__ float shared[Row::kBlock / kWarpSize];
  const Row part{args.cols, aligned};
  const float inv_cols = 1.0f / static_cast<float>(args.cols);
  partials += kNumSums * args.cols * blockIdx.x;
  Floats<N> sums[kNumSums][Row::kPieces] = {};
  bool first = true;

  for (int64_t row = Row::first_row(); row < args.rows; row += Row::row_step()) {
    const T* dy = static_cast<const T*>(args.dy) + row * args.cols;
    const T* x = static_cast<const T*>(args.x) + row * args.cols;
    const T* add = args.add == nullptr ? nullptr : static_cast<const T*>(args.add) + row * args.cols;
    T* dx = static_cast<T*>(args.dx) + row * args.cols;
    const bool is_centred = args.mean != nullptr;
    const float mean = is_centred ? args.mean[row] : 0.0f, rstd = args.rstd[row];
    Packed<T, N> kept_dy[Row::kPieces] = {}, kept_x[Row::kPieces] = {}, kept_add[Row::kPieces] = {};
    part.each_kept([&](int p, int64_t i, Piece<N> piece) {
      kept_dy[p] = load_packed(dy + i, piece);
      kept_x[p] = load_packed(x + i, piece);
      if (add != nullptr) kept_add[p] = load_packed(add + i, piece);
    });

    float sum_g = 0.0f, sum_gn = 0.0f;
    const auto sum = [&](int64_t i, Piece<N> piece, const auto& gradient, const auto& value) {
      const Floats<N> weight = load<N>(args.weight + i, piece);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float g = __fmul_rn(gradient[k], weight[k]);  // 0 beyond the row
        sum_g += g;
        sum_gn = fmaf(g, value[k] - mean, sum_gn);
      }
    };
    part.each_kept([&](int p, int64_t i, Piece<N> piece) { sum(i, piece, kept_dy[p], kept_x[p]); });
    part.each_other([&](int64_t i, Piece<N> piece) { sum(i, piece, load<N>(dy + i, piece), load<N>(x + i, piece)); });
    const float mean_g = is_centred ? Row::sum(sum_g, shared) * inv_cols : 0.0f;
    const float mean_gn = Row::sum(sum_gn, shared) * rstd * inv_cols;

    const auto write = [&](int64_t i, Piece<N> piece, const auto& gradient, const auto& value, const auto& added,
                           Floats<N>& to_weight, Floats<N>& to_bias, Floats<N>& to_branch) {
      const Floats<N> weight = load<N>(args.weight + i, piece);
      Floats<N> result;
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float n = (value[k] - mean) * rstd;
        to_weight[k] = fmaf(gradient[k], n, to_weight[k]);
        to_bias[k] += gradient[k];
        // Rounded as in the sum, so that a row of one element gives exactly 0.
        const float g = __fmul_rn(gradient[k], weight[k]);
        const float centred = fmaf(-n, mean_gn, g - mean_g);
        result[k] = add == nullptr ? rstd * centred : fmaf(rstd, centred, added[k]);
      }
      store(result, dx + i, piece);
      if constexpr (Branch::kNumSums > 0) {
        const Floats<N> of_branch = branch(result, row, i, piece);
#pragma unroll
        for (int k = 0; k < N; ++k) to_branch[k] += of_branch[k];
      }
    };
    part.each_kept([&](int p, int64_t i, Piece<N> piece) {
      write(i, piece, kept_dy[p], kept_x[p], kept_add[p], sums[0][p], sums[1][p], sums[kNumSums - 1][p]);
    });
    part.each_other([&](int64_t i, Piece<N> piece) {
      // The sums of these columns are kept in memory.
      Floats<N> to[kNumSums] = {}, added{};
      if (!first) {
#pragma unroll
        for (int j = 0; j < kNumSums; ++j) to[j] = load<N>(partials + j * args.cols + i, piece);
      }
      if (add != nullptr) added = load<N>(add + i, piece);
      write(i, piece, load<N>(dy + i, piece), load<N>(x + i, piece), added, to[0], to[1], to[kNumSums - 1]);
#pragma unroll
      for (int j = 0; j < kNumSums; ++j) store(to[j], partials + j * args.cols + i, piece);
    });
    first = false;
  }

  if constexpr (Row::kIsWarp) {
    __shared__ SumsOfWarps<N> of_warps;
#pragma unroll
    for (int p = 0; p < Row::kPieces; ++p) {
      const int64_t begin = p * Row::kStep;
      if (begin >= args.cols) break;
#pragma unroll
      for (int j = 0; j < kNumSums; ++j) {
        sum_warps<N>(sums[j][p], of_warps, [&](int c, float total) {
          if (begin + c < args.cols) partials[j * args.cols + begin + c] = total;
        });
      }
    }
  } else {
    part.each_kept([&](int p, int64_t i, Piece<N> piece) {
#pragma unroll
      for (int j = 0; j < kNumSums; ++j) store(sums[j][p], partials + j * args.cols + i, piece);
    });
  }
}

/// Four blocks for each SM of an H100, of which one to four fit at a time; few enough that writing and reading their
/// sums is a small part of all traffic; and a number that does not depend on the GPU.
inline constexpr int64_t kMaxPartials = 512;

/// Queues it, and the additions to dweight, dbias and the branch's sums. `aligned`: whether each array may be loaded by
/// vectors at multiples of N in every row. Uses the stream's scratch.
template <typename T, typename Branch>
void launch_layer_norm_backward(Stream& stream, std::string_view kernel, const LayerNormBackwardArgs& args,
                                const Branch& branch, SumTarget dbranch, bool aligned) {
  constexpr int kNumSums = 2 + Branch::kNumSums;
  with_row<T, Branch::kElements>(args.cols, [&](auto row_tag) {
    using Row = typename decltype(row_tag)::Type;
    const int64_t num_partials = std::min(ceil_div(args.rows, int64_t{8}), kMaxPartials);
    auto* partials = reinterpret_cast<float*>(
        stream.scratch(static_cast<std::size_t>(num_partials * kNumSums * args.cols) * sizeof(float)));
    if (num_partials > 0) {
      layer_norm_backward_kernel<T, Row><<<static_cast<unsigned>(num_partials), Row::kBlock, 0, cuda_stream(stream)>>>(
          args, branch, partials, aligned);
      check_launch(kernel);
    }
    sum_partials(stream, partials, num_partials, args.cols, kNumSums, {{args.dweight, args.dbias, dbranch}});
  });
}

}  // namespace triptych::kernels::cuda
