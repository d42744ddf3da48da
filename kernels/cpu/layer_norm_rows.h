// Layer norm of a few rows, for its own kernels and for residual_norm. Included once for every target, like simd.h.

#include <cmath>
#include <type_traits>

#include "kernels/cpu/simd.h"
#include "kernels/layer_norm.h"

#if defined(TRIPTYCH_KERNELS_CPU_LAYER_NORM_ROWS_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIPTYCH_KERNELS_CPU_LAYER_NORM_ROWS_H
#undef TRIPTYCH_KERNELS_CPU_LAYER_NORM_ROWS_H
#else
#define TRIPTYCH_KERNELS_CPU_LAYER_NORM_ROWS_H
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

template <typename T>
void layer_norm_forward_row(const LayerNormForwardArgs& args, int64_t row) {
  const int64_t cols = args.cols;
  const T* x = static_cast<const T*>(args.x) + row * cols;
  T* y = static_cast<T*>(args.y) + row * cols;
  const auto element = [&](int64_t i, auto part) HWY_ATTR { return load(x + i, part); };
  const float mean = args.mean == nullptr ? 0.0f : sum_vectors(cols, element) / static_cast<float>(cols);
  const Vec mean_v = hn::Set(kFloats, mean);
  const float squares = sum_vectors(cols, [&](int64_t i, auto part) HWY_ATTR {
    const Vec d = hn::Sub(load(x + i, part), mean_v);
    return hn::Mul(d, d);
  });
  const float rstd = 1.0f / std::sqrt(squares / static_cast<float>(cols) + args.epsilon);
  const Vec rstd_v = hn::Set(kFloats, rstd);
  for_vectors(cols, [&](int64_t i, auto part) HWY_ATTR {
    const Vec n = hn::Mul(hn::Sub(load(x + i, part), mean_v), rstd_v);
    const Vec bias = args.bias == nullptr ? hn::Zero(kFloats) : load(args.bias + i, part);
    store(hn::MulAdd(n, load(args.weight + i, part), bias), y + i, part);
  });
  if (args.mean != nullptr) args.mean[row] = mean;
  args.rstd[row] = rstd;
}

/// dx of one group of kRows rows, and their share of dweight and dbias added to `dweight` and `dbias`: several rows at
/// once save most of the loads and stores of those sums.
template <int kRows, typename T>
void layer_norm_backward_group(const LayerNormBackwardArgs& args, int64_t row, float* dweight, float* dbias) {
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
    mean[k] = hn::Set(kFloats, args.mean == nullptr ? 0.0f : args.mean[row + k]);
    rstd[k] = hn::Set(kFloats, args.rstd[row + k]);
    Vec sum_g = hn::Zero(kFloats), sum_gn = hn::Zero(kFloats);
    for_vectors(cols, [&](int64_t i, auto part) HWY_ATTR {
      const Vec g = hn::Mul(load(dy[k] + i, part), load(args.weight + i, part));  // 0 beyond the row's end
      sum_g = hn::Add(sum_g, g);
      sum_gn = hn::MulAdd(g, hn::Sub(load(x[k] + i, part), mean[k]), sum_gn);
    });
    const float inv_cols = 1.0f / static_cast<float>(cols);
    mean_g[k] = hn::Set(kFloats, args.mean == nullptr ? 0.0f : sum_lanes(sum_g) * inv_cols);
    mean_gn[k] = hn::Set(kFloats, sum_lanes(sum_gn) * args.rstd[row + k] * inv_cols);
  }
  for_vectors(cols, [&](int64_t i, auto part) HWY_ATTR {
    const Vec weight = load(args.weight + i, part);
    Vec to_weight = hn::Zero(kFloats), to_bias = hn::Zero(kFloats);
    for (int k = 0; k < kRows; ++k) {
      const Vec gradient = load(dy[k] + i, part);
      const Vec n = hn::Mul(hn::Sub(load(x[k] + i, part), mean[k]), rstd[k]);
      to_weight = hn::MulAdd(gradient, n, to_weight);
      to_bias = hn::Add(gradient, to_bias);
      // Rounded as in the sum, so that a row of one element gives exactly 0.
      const Vec g = hn::Mul(gradient, weight);
      const Vec centred = hn::NegMulAdd(n, mean_gn[k], hn::Sub(g, mean_g[k]));
      const Vec result =
          add[k] == nullptr ? hn::Mul(rstd[k], centred) : hn::MulAdd(rstd[k], centred, load(add[k] + i, part));
      store(result, dx[k] + i, part);
    }
    store(hn::Add(load(dweight + i, part), to_weight), dweight + i, part);
    store(hn::Add(load(dbias + i, part), to_bias), dbias + i, part);
  });
}

/// Calls f(kRows, row) for the groups of rows of [begin, end).
template <typename F>
HWY_INLINE void for_row_groups(int64_t begin, int64_t end, const F& f) {
  int64_t row = begin;
  for (; row + 4 <= end; row += 4) f(std::integral_constant<int, 4>(), row);
  for (; row < end; ++row) f(std::integral_constant<int, 1>(), row);
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // Highway's guard
