// The two products that attention is made of, on tiles in shared memory. A block of threads owns kRows rows (queries,
// or keys in the gradients of k and v) and goes over tiles of kCols others, its columns:
//
//   multiply       scores[row, col] = the sum over d of rows[row, d] * cols[col, d]
//   add_weighted   sums[row, d] += the sum over col of weights[row, col] * cols[col, d]
//
// TensorCoreMath and FmaMath say in which registers: each thread holds the same few rows of both, so that a row's
// maximum and sum are reductions over kLanes neighbouring lanes, and the scores of one product are the weights of the
// next as they lie. A row belongs to one warp.
#pragma once

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/ptx.cuh"

namespace triptych::kernels::cuda {

/// Values of a thread: `kCount` of each of its rows.
template <int kRowsOfThread, int kCount>
struct RowValues {
  float v[kRowsOfThread][kCount];

  __device__ void fill(float value) {
#pragma unroll
    for (int row = 0; row < kRowsOfThread; ++row) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) v[row][i] = value;
    }
  }
};

/// bfloat16 and float16, on the tensor cores: mma.m16n8k16. Weights are rounded to T.
template <typename T_, int kDim_, int kCols_>
struct TensorCoreMath {
  using T = T_;
  static constexpr int kDim = kDim_, kCols = kCols_;
  static constexpr int kThreads = 128;
  static constexpr int kRows = 16 * kThreads / kWarpSize;
  static constexpr int kLanes = 4, kRowsOfThread = 2;
  /// A tile's rows are so far apart that the 8 rows of an 8x8 matrix lie in different banks.
  static constexpr int kStride = kDim + 8;
  using Scores = RowValues<kRowsOfThread, kCols / kLanes>;
  using Sums = RowValues<kRowsOfThread, kDim / kLanes>;

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }
  __device__ static int first_row() { return static_cast<int>(threadIdx.x) / kWarpSize * 16; }
  /// Of the block's rows, the thread's i-th.
  __device__ static int row(int i) { return first_row() + lane() / 4 + i * 8; }
  /// Of a tile's columns, the i-th that the thread has scores of.
  __device__ static int col(int i) { return i / 2 * 8 + lane() % 4 * 2 + i % 2; }

  __device__ static void multiply(const T* rows, const T* cols, Scores& scores) {
    scores.fill(0.0f);
    const T* const a_row = rows + (first_row() + lane() % 16) * kStride + lane() / 16 * 8;
    const T* const b_row = cols + (lane() / 16 * 8 + lane() % 8) * kStride + lane() / 8 % 2 * 8;
#pragma unroll
    for (int d = 0; d < kDim; d += 16) {
      uint32_t a[4];
      load_matrices(a, a_row + d);
#pragma unroll
      for (int col = 0; col < kCols; col += 16) {
        uint32_t b[4];
        load_matrices(b, b_row + col * kStride + d);
        add_products(scores, col / 8, a, b);
      }
    }
  }

  __device__ static void add_weighted(const Scores& weights, const T* cols, Sums& sums) {
    const T* const b_row = cols + lane() % 16 * kStride + lane() / 16 * 8;
#pragma unroll
    for (int col = 0; col < kCols; col += 16) {
      const float *const upper = weights.v[0] + col / 4, *const lower = weights.v[1] + col / 4;
      const uint32_t a[4] = {pack<T>(upper[0], upper[1]), pack<T>(lower[0], lower[1]), pack<T>(upper[2], upper[3]),
                             pack<T>(lower[2], lower[3])};
#pragma unroll
      for (int d = 0; d < kDim; d += 16) {
        uint32_t b[4];
        load_transposed_matrices(b, b_row + col * kStride + d);
        add_products(sums, d / 8, a, b);
      }
    }
  }

  /// tile[row, d] = sums[row, d] * factor[row], rounded.
  __device__ static void put(const Sums& sums, const float (&factors)[kRowsOfThread], T* tile) {
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
#pragma unroll
      for (int j = 0; j < kDim / kLanes; j += 2) {
        *reinterpret_cast<uint32_t*>(tile + row(i) * kStride + col(j)) =
            pack<T>(sums.v[i][j] * factors[i], sums.v[i][j + 1] * factors[i]);
      }
    }
  }

 private:
  /// Adds A [B0 B1] to the values of 16 columns, the pieces of 8 `piece` and piece + 1.
  template <typename Values>
  __device__ static void add_products(Values& values, int piece, const uint32_t (&a)[4], const uint32_t (&b)[4]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float *const upper = values.v[0] + 2 * (piece + i), *const lower = values.v[1] + 2 * (piece + i);
      multiply_add<T>(upper[0], upper[1], lower[0], lower[1], a, b[2 * i], b[2 * i + 1]);
    }
  }
};

/// float32, by fused multiply-adds in full precision.
template <int kDim_, int kCols_>
struct FmaMath {
  using T = float;
  static constexpr int kDim = kDim_, kCols = kCols_;
  static constexpr int kThreads = 128;
  static constexpr int kLanes = 8, kRowsOfThread = 4;
  static constexpr int kRows = kThreads / kLanes * kRowsOfThread;
  /// A tile's rows are so far apart that a 16-byte access by 8 lanes to 8 rows meets different banks.
  static constexpr int kStride = kDim + 4;
  using Scores = RowValues<kRowsOfThread, kCols / kLanes>;
  using Sums = RowValues<kRowsOfThread, kDim / kLanes>;

  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kLanes; }
  __device__ static int row(int i) { return static_cast<int>(threadIdx.x) / kLanes * kRowsOfThread + i; }
  __device__ static int col(int i) { return i * kLanes + lane(); }

  __device__ static void multiply(const float* rows, const float* cols, Scores& scores) {
    scores.fill(0.0f);
#pragma unroll 2
    for (int d = 0; d < kDim; d += 4) {
      Floats<4> a[kRowsOfThread];
#pragma unroll
      for (int i = 0; i < kRowsOfThread; ++i) a[i] = load<4>(rows + row(i) * kStride + d);
#pragma unroll
      for (int j = 0; j < kCols / kLanes; ++j) {
        const Floats<4> b = load<4>(cols + col(j) * kStride + d);
#pragma unroll
        for (int i = 0; i < kRowsOfThread; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) scores.v[i][j] = __fmaf_rn(a[i][e], b[e], scores.v[i][j]);
        }
      }
    }
  }

  __device__ static void add_weighted(const Scores& weights, const float* cols, Sums& sums) {
#pragma unroll
    for (int j = 0; j < kCols / kLanes; ++j) {
#pragma unroll 2
      for (int from = 0; from < kLanes; ++from) {
        float weight[kRowsOfThread];
#pragma unroll
        for (int i = 0; i < kRowsOfThread; ++i) weight[i] = __shfl_sync(kFullMask, weights.v[i][j], from, kLanes);
#pragma unroll
        for (int x = 0; x < kDim / 32; ++x) {
          const Floats<4> b = load<4>(cols + (j * kLanes + from) * kStride + x * 32 + lane() * 4);
#pragma unroll
          for (int i = 0; i < kRowsOfThread; ++i) {
#pragma unroll
            for (int e = 0; e < 4; ++e) sums.v[i][x * 4 + e] = __fmaf_rn(weight[i], b[e], sums.v[i][x * 4 + e]);
          }
        }
      }
    }
  }

  __device__ static void put(const Sums& sums, const float (&factors)[kRowsOfThread], float* tile) {
#pragma unroll
    for (int i = 0; i < kRowsOfThread; ++i) {
#pragma unroll
      for (int x = 0; x < kDim / 32; ++x) {
        Floats<4> out;
#pragma unroll
        for (int e = 0; e < 4; ++e) out[e] = sums.v[i][x * 4 + e] * factors[i];
        store<4>(out, tile + row(i) * kStride + x * 32 + lane() * 4);
      }
    }
  }
};

/// Over the lanes that share rows; all of them get the same bits.
template <typename Math>
__device__ inline float row_sum(float value) {
#pragma unroll
  for (int offset = 1; offset < Math::kLanes; offset *= 2) value += __shfl_xor_sync(kFullMask, value, offset);
  return value;
}

template <typename Math>
__device__ inline float row_max(float value) {
#pragma unroll
  for (int offset = 1; offset < Math::kLanes; offset *= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullMask, value, offset));
  }
  return value;
}

/// The tiles of a storage type: columns as wide as the registers allow without spilling. SmallBackward is for a GPU
/// that lacks the shared memory for Backward; the sums have the same order in both, and so the same bits.
template <typename T, int kDim>
struct AttentionMath {
  using Forward = TensorCoreMath<T, kDim, 64>;
  using Backward = TensorCoreMath<T, kDim, (kDim <= 64 ? 64 : 32)>;
  using SmallBackward = Backward;
};
template <int kDim>
struct AttentionMath<float, kDim> {
  using Forward = FmaMath<kDim, 32>;
  using Backward = FmaMath<kDim, 32>;
  using SmallBackward = FmaMath<kDim, (kDim <= 64 ? 32 : kDim <= 96 ? 16 : 8)>;
};

}  // namespace triptych::kernels::cuda
