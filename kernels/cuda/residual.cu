#include <cmath>

#include "base/philox.h"
#include "kernels/cuda/common.cuh"
#include "kernels/residual.h"

namespace triptych {
namespace {

using namespace cuda;

/// The dropout of residual.h: which elements of a row stay, and times what.
struct Dropout {
  RandomKey key;
  int64_t seq;
  int64_t seq_total;
  int64_t batch_begin;
  int64_t seq_begin;
  int64_t cols;
  uint32_t threshold;  ///< an element is dropped if the upper 24 bits of its word are below: philox_uniform < p
  float scale;         ///< 1 / (1 - p)

  explicit Dropout(const DropoutArgs& d)
      : key(d.key),
        seq(d.seq),
        seq_total(d.seq_total),
        batch_begin(d.batch_begin),
        seq_begin(d.seq_begin),
        cols(d.cols),
        threshold(static_cast<uint32_t>(std::ceil(static_cast<double>(d.p) * 0x1p24))),
        scale(static_cast<float>(1.0 / (1.0 - static_cast<double>(d.p)))) {}

  /// Bit k: element (row, c + k) stays, for k < N. A block of Philox has four elements; where the first one is not a
  /// block's first, one block more than N / 4 has a part in it.
  template <int N>
  __device__ uint32_t kept(int64_t row, int64_t c) const {
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

template <typename T, typename Z>
struct ResidualForward {
  const T* x;
  const Z* z;
  const float* bias;  ///< or null
  T* out;
  Dropout dropout;
  template <int N>
  __device__ void operator()(int64_t row, int64_t c, Piece<N> piece) const {
    const int64_t i = row * dropout.cols + c;
    Floats<N> sum = load<N>(x + i, piece);
    Floats<N> branch = load<N>(z + i, piece);
    if (bias != nullptr) {
      const Floats<N> added = load<N>(bias + c, piece);
#pragma unroll
      for (int k = 0; k < N; ++k) branch[k] += added[k];
    }
    const uint32_t kept = dropout.threshold == 0 ? ~0u : dropout.template kept<N>(row, c);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] = fmaf(branch[k], (kept >> k & 1) != 0 ? dropout.scale : 0.0f, sum[k]);
    store(sum, out + i, piece);
  }
};

template <typename T>
struct ResidualBackward {
  const T* dout;
  T* dz;
  Dropout dropout;
  template <int N>
  __device__ void operator()(int64_t row, int64_t c, Piece<N> piece) const {
    const int64_t i = row * dropout.cols + c;
    Floats<N> gradient = load<N>(dout + i, piece);
    const uint32_t kept = dropout.threshold == 0 ? ~0u : dropout.template kept<N>(row, c);
#pragma unroll
    for (int k = 0; k < N; ++k) gradient[k] *= (kept >> k & 1) != 0 ? dropout.scale : 0.0f;
    store(gradient, dz + i, piece);
  }
};

void check_dropout(const DropoutArgs& d) {
  TRIPTYCH_CHECK(d.p >= 0.0f && d.p < 1.0f, "Dropout needs p in [0, 1), found {}.", d.p);
  TRIPTYCH_CHECK(d.batch_begin >= 0 && d.seq_begin >= 0 && d.seq_begin + d.seq <= d.seq_total,
                 "A rank's rows [{}, {}) lie in the sequence's {}, and its batch begins at {} >= 0.", d.seq_begin,
                 d.seq_begin + d.seq, d.seq_total, d.batch_begin);
}

}  // namespace

void residual_forward(Stream& stream, const ResidualForwardArgs& args) {
  const DropoutArgs& d = args.dropout;
  check_dropout(d);
  with_float_type(args.dtype, "residual_forward", [&](auto tag) {
    with_float_type(args.z_dtype, "residual_forward", [&](auto z_tag) {
      using T = typename decltype(tag)::Type;
      using Z = typename decltype(z_tag)::Type;
      constexpr int64_t kNarrowest = std::min(sizeof(T), sizeof(Z));
      launch_each_row_piece<kVectorSize<T, Z>>(
          stream, "residual_forward", d.batch * d.seq, d.cols,
          aligned_16({args.x, args.z, args.bias, args.out}, {d.cols * kNarrowest}),
          ResidualForward<T, Z>{static_cast<const T*>(args.x), static_cast<const Z*>(args.z), args.bias,
                                static_cast<T*>(args.out), Dropout(d)});
    });
  });
}

void residual_backward(Stream& stream, const ResidualBackwardArgs& args) {
  const DropoutArgs& d = args.dropout;
  check_dropout(d);
  with_float_type(args.dtype, "residual_backward", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int64_t kBytes = sizeof(T);
    launch_each_row_piece<kVectorSize<T>>(
        stream, "residual_backward", d.batch * d.seq, d.cols, aligned_16({args.dout, args.dz}, {d.cols * kBytes}),
        ResidualBackward<T>{static_cast<const T*>(args.dout), static_cast<T*>(args.dz), Dropout(d)});
  });
}

}  // namespace triptych
