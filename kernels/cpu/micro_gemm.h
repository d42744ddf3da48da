// A register-blocked product of small float matrices that lie in cache: C (+)= A B. For kernels that fuse products with
// something else (attention); whole layers go to `matmul`. Included once a target by foreach_target, so its guard is
// Highway's, not `#pragma once`; see kernels/cpu/simd.h.

#include "kernels/cpu/simd.h"

#if defined(TRIPTYCH_KERNELS_CPU_MICRO_GEMM_H) == defined(HWY_TARGET_TOGGLE)
#ifdef TRIPTYCH_KERNELS_CPU_MICRO_GEMM_H
#undef TRIPTYCH_KERNELS_CPU_MICRO_GEMM_H
#else
#define TRIPTYCH_KERNELS_CPU_MICRO_GEMM_H
#endif

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

// 6 x 4 accumulators, 4 vectors of B and one of A fill 29 of AVX-512's 32 registers; 6 x 2 fill 15 of AVX2's 16.
inline constexpr int kMicroRows = 6;
inline constexpr int kMicroVectors = kMaxLanes >= 16 ? 4 : 2;

/// A[i, x] at data[i * row_stride + x * column_stride]: a matrix or its transpose.
struct MicroA {
  const float* data;
  int64_t row_stride;
  int64_t column_stride;
};

/// A row-major matrix of floats whose rows may be read (B) or written (C) up to a whole number of vectors.
template <typename Float>
struct MicroRowMajor {
  Float* data;
  int64_t row_stride;
};
using MicroB = MicroRowMajor<const float>;
using MicroC = MicroRowMajor<float>;

template <int kRows, int kVectors>
HWY_INLINE void micro_tile(int64_t k, MicroA a, MicroB b, MicroC c, bool accumulate) {
  constexpr int64_t kLanes = kMaxLanes;
  Vec sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      sum[i][j] = accumulate ? load(c.data + i * c.row_stride + j * kLanes) : hn::Zero(kFloats);
    }
  }
  const float* a_column = a.data;
  const float* b_row = b.data;
  for (int64_t x = 0; x < k; ++x, a_column += a.column_stride, b_row += b.row_stride) {
    Vec b_vectors[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) b_vectors[j] = load(b_row + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Vec a_value = hn::Set(kFloats, a_column[i * a.row_stride]);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::MulAdd(a_value, b_vectors[j], sum[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) store(sum[i][j], c.data + i * c.row_stride + j * kLanes);
  }
}

template <int kRows>
HWY_INLINE void micro_panel(int64_t num_vectors, int64_t k, MicroA a, MicroB b, MicroC c, bool accumulate) {
  int64_t j = 0;
  const auto at = [&](auto matrix) HWY_ATTR {
    matrix.data += j * kMaxLanes;
    return matrix;
  };
  for (; j + kMicroVectors <= num_vectors; j += kMicroVectors) {
    micro_tile<kRows, kMicroVectors>(k, a, at(b), at(c), accumulate);
  }
  if constexpr (kMicroVectors == 4) {
    if (j + 2 <= num_vectors) {
      micro_tile<kRows, 2>(k, a, at(b), at(c), accumulate);
      j += 2;
    }
  }
  if (j < num_vectors) micro_tile<kRows, 1>(k, a, at(b), at(c), accumulate);
}

/// C[m, n] (+)= A[m, k] B[k, n], where n is rounded up to whole vectors. m up to kMicroRows; k may be 0.
inline HWY_NOINLINE void micro_rows(int64_t m, int64_t n, int64_t k, MicroA a, MicroB b, MicroC c, bool accumulate) {
  static_assert(kMicroRows == 6);
  const int64_t num_vectors = (n + kMaxLanes - 1) / kMaxLanes;
  switch (m) {
    case 6:
      return micro_panel<6>(num_vectors, k, a, b, c, accumulate);
    case 5:
      return micro_panel<5>(num_vectors, k, a, b, c, accumulate);
    case 4:
      return micro_panel<4>(num_vectors, k, a, b, c, accumulate);
    case 3:
      return micro_panel<3>(num_vectors, k, a, b, c, accumulate);
    case 2:
      return micro_panel<2>(num_vectors, k, a, b, c, accumulate);
    case 1:
      return micro_panel<1>(num_vectors, k, a, b, c, accumulate);
    default:
      return;
  }
}

/// Four rows' four floats become four columns'.
HWY_INLINE void transpose_4x4(const float* from, int64_t from_row, float* to, int64_t to_row) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t x = 0; x < 4; ++x) to[x * to_row + i] = from[i * from_row + x];
  }
#else
  const hn::FixedTag<float, 4> four;
  const hn::Repartition<uint64_t, decltype(four)> pairs;
  const auto r0 = hn::LoadU(four, from), r1 = hn::LoadU(four, from + from_row);
  const auto r2 = hn::LoadU(four, from + 2 * from_row), r3 = hn::LoadU(four, from + 3 * from_row);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(four, r0, r1));  // 00 10 01 11
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(four, r2, r3));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(four, r0, r1));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(four, r2, r3));
  hn::StoreU(hn::BitCast(four, hn::InterleaveLower(pairs, low01, low23)), four, to);
  hn::StoreU(hn::BitCast(four, hn::InterleaveUpper(pairs, low01, low23)), four, to + to_row);
  hn::StoreU(hn::BitCast(four, hn::InterleaveLower(pairs, high01, high23)), four, to + 2 * to_row);
  hn::StoreU(hn::BitCast(four, hn::InterleaveUpper(pairs, high01, high23)), four, to + 3 * to_row);
#endif
}

/// to[x, i] = from[i, x] for rows x columns, both multiples of 4.
HWY_INLINE void transpose(const float* from, int64_t from_row, int64_t rows, int64_t columns, float* to,
                          int64_t to_row) {
  for (int64_t x = 0; x < columns; x += 4) {
    for (int64_t i = 0; i < rows; i += 4) transpose_4x4(from + i * from_row + x, from_row, to + x * to_row + i, to_row);
  }
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // Highway's guard
