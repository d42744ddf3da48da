#include "kernels/layer_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/layer_norm.cpp"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/sum_rows.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::cpu::HWY_NAMESPACE {

template <typename T>
void layer_norm_forward_row(const LayerNormForwardArgs& args, int64_t row) {
  const int64_t cols = args.cols;
  const T* x = static_cast<const T*>(args.x) + row * cols;
  T* y = static_cast<T*>(args.y) + row * cols;
  const float mean =
      sum_vectors(cols, [&](int64_t i, auto part) HWY_ATTR { return load(x + i, part); }) / static_cast<float>(cols);
  const Vec mean_v = hn::Set(kFloats, mean);
  const float squares = sum_vectors(cols, [&](int64_t i, auto part) HWY_ATTR {
    const Vec d = hn::Sub(load(x + i, part), mean_v);
    return hn::Mul(d, d);
  });
  const float rstd = 1.0f / std::sqrt(squares / static_cast<float>(cols) + args.eps);
  const Vec rstd_v = hn::Set(kFloats, rstd);
  for_vectors(cols, [&](int64_t i, auto part) HWY_ATTR {
    const Vec n = hn::Mul(hn::Sub(load(x + i, part), mean_v), rstd_v);
    store(hn::MulAdd(n, load(args.gamma + i, part), load(args.beta + i, part)), y + i, part);
  });
  args.mean[row] = mean;
  args.rstd[row] = rstd;
}

void layer_norm_forward_rows(const LayerNormForwardArgs& args, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    for (int64_t row = begin; row < end; ++row) layer_norm_forward_row<decltype(type)>(args, row);
  });
}

/// dx of one group of kRows rows, and their share of dgamma and dbeta added to `dgamma` and `dbeta`: several rows at
/// once save most of the loads and stores of those sums.
template <int kRows, typename T>
void layer_norm_backward_rows(const LayerNormBackwardArgs& args, int64_t row, float* dgamma, float* dbeta) {
  const int64_t cols = args.cols;
  const T* dy[kRows];
  const T* x[kRows];
  const T* add[kRows];
  T* dx[kRows];
  Vec mean[kRows], rstd[kRows], mean_g[kRows], mean_gn[kRows];
  for (int k = 0; k < kRows; ++k) {
    dy[k] = static_cast<const T*>(args.dy) + (row + k) * cols;
    x[k] = static_cast<const T*>(args.x) + (row + k) * cols;
    add[k] = args.add == nullptr ? nullptr : static_cast<const T*>(args.add) + (row + k) * cols;
    dx[k] = static_cast<T*>(args.dx) + (row + k) * cols;
    mean[k] = hn::Set(kFloats, args.mean[row + k]);
    rstd[k] = hn::Set(kFloats, args.rstd[row + k]);
    Vec sum_g = hn::Zero(kFloats), sum_gn = hn::Zero(kFloats);
    for_vectors(cols, [&](int64_t i, auto part) HWY_ATTR {
      const Vec g = hn::Mul(load(dy[k] + i, part), load(args.gamma + i, part));  // 0 beyond the row's end
      sum_g = hn::Add(sum_g, g);
      sum_gn = hn::MulAdd(g, hn::Sub(load(x[k] + i, part), mean[k]), sum_gn);
    });
    const float inv_cols = 1.0f / static_cast<float>(cols);
    mean_g[k] = hn::Set(kFloats, sum_lanes(sum_g) * inv_cols);
    mean_gn[k] = hn::Set(kFloats, sum_lanes(sum_gn) * args.rstd[row + k] * inv_cols);
  }
  for_vectors(cols, [&](int64_t i, auto part) HWY_ATTR {
    const Vec gamma = load(args.gamma + i, part);
    Vec to_gamma = hn::Zero(kFloats), to_beta = hn::Zero(kFloats);
    for (int k = 0; k < kRows; ++k) {
      const Vec gradient = load(dy[k] + i, part);
      const Vec n = hn::Mul(hn::Sub(load(x[k] + i, part), mean[k]), rstd[k]);
      to_gamma = hn::MulAdd(gradient, n, to_gamma);
      to_beta = hn::Add(gradient, to_beta);
      // Rounded as in the sum, so that a row of one element gives exactly 0.
      const Vec g = hn::Mul(gradient, gamma);
      const Vec centred = hn::NegMulAdd(n, mean_gn[k], hn::Sub(g, mean_g[k]));
      const Vec result =
          add[k] == nullptr ? hn::Mul(rstd[k], centred) : hn::MulAdd(rstd[k], centred, load(add[k] + i, part));
      store(result, dx[k] + i, part);
    }
    store(hn::Add(load(dgamma + i, part), to_gamma), dgamma + i, part);
    store(hn::Add(load(dbeta + i, part), to_beta), dbeta + i, part);
  });
}

void layer_norm_backward_block(const LayerNormBackwardArgs& args, int64_t begin, int64_t end, float* dgamma,
                               float* dbeta) {
  std::fill(dgamma, dgamma + args.cols, 0.0f);
  std::fill(dbeta, dbeta + args.cols, 0.0f);
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    int64_t row = begin;
    for (; row + 4 <= end; row += 4) layer_norm_backward_rows<4, T>(args, row, dgamma, dbeta);
    for (; row < end; ++row) layer_norm_backward_rows<1, T>(args, row, dgamma, dbeta);
  });
}

void layer_norm_sum_blocks(const float* blocks, int64_t num_blocks, int64_t cols, int64_t stride, float* out) {
  sum_rows_into<true>(blocks, num_blocks, cols, stride, 1.0f, out);
}

}  // namespace triptych::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::cpu {
HWY_EXPORT(layer_norm_forward_rows);
HWY_EXPORT(layer_norm_backward_block);
HWY_EXPORT(layer_norm_sum_blocks);
}  // namespace triptych::cpu

namespace triptych {

using namespace cpu;

void layer_norm_forward(Stream& stream, const LayerNormForwardArgs& args) {
  check_float_dtype(args.dtype, "layer_norm_forward");
  TRIPTYCH_CHECK(args.cols > 0, "A row needs elements, found cols = {}.", args.cols);
  parallel_ranges(stream, args.rows, grain_rows(args.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(layer_norm_forward_rows)(args, begin, end);
  });
}

void layer_norm_backward(Stream& stream, const LayerNormBackwardArgs& args) {
  check_float_dtype(args.dtype, "layer_norm_backward");
  TRIPTYCH_CHECK(args.cols > 0, "A row needs elements, found cols = {}.", args.cols);
  if (args.rows <= 0) return;
  // Blocks of rows have their own sums, added up in order at the end. Their size depends on the rows alone.
  const int64_t block_rows = std::max<int64_t>(64, (args.rows + 255) / 256);
  const int64_t num_blocks = (args.rows + block_rows - 1) / block_rows;
  float* sums =
      reinterpret_cast<float*>(stream.scratch(static_cast<std::size_t>(num_blocks * 2 * args.cols) * sizeof(float)));
  const int64_t grain = std::max<int64_t>(1, grain_rows(args.cols) / block_rows);
  parallel_ranges(stream, num_blocks, grain, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      float* dgamma = sums + block * 2 * args.cols;
      HWY_DYNAMIC_DISPATCH(layer_norm_backward_block)
      (args, block * block_rows, std::min(args.rows, (block + 1) * block_rows), dgamma, dgamma + args.cols);
    }
  });
  HWY_DYNAMIC_DISPATCH(layer_norm_sum_blocks)(sums, num_blocks, args.cols, 2 * args.cols, args.dgamma);
  HWY_DYNAMIC_DISPATCH(layer_norm_sum_blocks)(sums + args.cols, num_blocks, args.cols, 2 * args.cols, args.dbeta);
}

}  // namespace triptych
#endif
