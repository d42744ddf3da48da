// The residual branch's dropout on the device.
#pragma once

#include <cmath>

#include "base/philox.h"
#include "kernels/cuda/common.cuh"
#include "kernels/residual.h"

namespace triptych::kernels::cuda {

/// Which elements of a row stay, and times what.
struct Dropout {
  RandomKey key;
  int64_t seq;
  int64_t seq_total;
  int64_t batch_begin;
  int64_t seq_begin;
  int64_t cols;
  uint32_t threshold;  ///< an element is dropped if the upper 24 bits of its word are below: philox_uniform < p
  float scale;         ///< 1 / (1 - p)
  RandomKey path_key;
  uint32_t path_threshold;  ///< likewise of a whole sample
  float path_scale;

  explicit Dropout(const DropoutArgs& d)
      : key(d.key),
        seq(d.seq),
        seq_total(d.seq_total),
        batch_begin(d.batch_begin),
        seq_begin(d.seq_begin),
        cols(d.cols),
        threshold(threshold_of(d.p)),
        scale(scale_of(d.p)),
        path_key(d.path_key),
        path_threshold(threshold_of(d.path_p)),
        path_scale(scale_of(d.path_p)) {}

  static uint32_t threshold_of(float p) { return static_cast<uint32_t>(std::ceil(static_cast<double>(p) * 0x1p24)); }
  static float scale_of(float p) { return static_cast<float>(1.0 / (1.0 - static_cast<double>(p))); }

  /// What an element of the row that stays is multiplied by: 0 if its whole sample is dropped.
  __device__ float factor(int64_t row) const {
    if (path_threshold == 0) return scale;
    const auto sample = static_cast<uint64_t>(batch_begin + row / seq);
    const uint32_t word = philox4x32(path_key, sample / 4)[sample % 4];
    return word >> 8 < path_threshold ? 0.0f : __fmul_rn(scale, path_scale);
  }

  /// Bit k: element (row, c + k) stays, for k < N. A block of Philox has four elements; where the first one is not a
  /// block's first, one block more than N / 4 has a part in it.
  template <int N>
  __device__ uint32_t kept(int64_t row, int64_t c) const {
    if (threshold == 0) return ~0u;
    const int64_t b = batch_begin + row / seq, s = seq_begin + row % seq;
    const uint64_t first =
        static_cast<uint64_t>(b * seq_total + s) * static_cast<uint64_t>(cols) + static_cast<uint64_t>(c);
    const auto skipped = static_cast<uint32_t>(first % 4);
    uint32_t bits = 0;
#pragma unroll
    for (int block = 0; block < N / 4; ++block) bits |= kept_of_block(first / 4 + block) << (4 * block);
    if (skipped != 0) bits |= kept_of_block(first / 4 + N / 4) << N;
    return bits >> skipped;
  }

  __device__ uint32_t kept_of_block(uint64_t block) const {
    const std::array<uint32_t, 4> words = philox4x32(key, block);
    uint32_t bits = 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) bits |= static_cast<uint32_t>((words[k] >> 8) >= threshold) << k;
    return bits;
  }
};

/// x + dropout(z + bias) of the elements (row, c + k).
template <typename T, typename Z>
struct ResidualSum {
  const T* x;
  const Z* z;
  const float* bias;  ///< or null
  Dropout dropout;

  explicit ResidualSum(const ResidualForwardArgs& args)
      : x(static_cast<const T*>(args.x)), z(static_cast<const Z*>(args.z)), bias(args.bias), dropout(args.dropout) {}

  template <int N>
  __device__ Floats<N> operator()(int64_t row, int64_t c, Piece<N> piece) const {
    const int64_t i = row * dropout.cols + c;
    Floats<N> sum = load<N>(x + i, piece);
    Floats<N> branch = load<N>(z + i, piece);
    if (bias != nullptr) {
      const Floats<N> added = load<N>(bias + c, piece);
#pragma unroll
      for (int k = 0; k < N; ++k) branch[k] += added[k];
    }
    const uint32_t kept = dropout.template kept<N>(row, c);
    const float factor = dropout.factor(row);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] = fmaf(branch[k], (kept >> k & 1) != 0 ? factor : 0.0f, sum[k]);
    return sum;
  }
};

/// dz of the elements (row, c + k), from dout's; stored unless dz is null, which says that nothing drops out.
template <typename T>
struct BranchGradient {
  T* dz;
  Dropout dropout;

  explicit BranchGradient(const ResidualBackwardArgs& args) : dz(static_cast<T*>(args.dz)), dropout(args.dropout) {}

  template <int N>
  __device__ Floats<N> operator()(const Floats<N>& dout, int64_t row, int64_t c, Piece<N> piece) const {
    if (dz == nullptr) return dout;
    Floats<N> gradient;
    const uint32_t kept = dropout.template kept<N>(row, c);
    const float factor = dropout.factor(row);
#pragma unroll
    for (int k = 0; k < N; ++k) gradient[k] = dout[k] * ((kept >> k & 1) != 0 ? factor : 0.0f);
    store(gradient, dz + row * dropout.cols + c, piece);
    return gradient;
  }
};

}  // namespace triptych::kernels::cuda
