#pragma once

#include <cstdint>

#include <cublasLt.h>

#include "emulator/cublaslt/descriptors.h"

namespace triptych::emulator {

/// What an epilogue does to alpha * op(A) * op(B) + beta * C, and what it needs.
struct Epilogue {
  bool adds_bias = false;  ///< reads the bias vector, one element a row of D
  bool relu = false, gelu = false, gelu_gradient = false;
  bool writes_aux = false;              ///< the input of GELU
  bool sums_columns = false;            ///< DGELU_BGRAD: the bias gradient is D summed over its columns
  bool sums_a = false, sums_b = false;  ///< BGRADA, BGRADB: op(A) or op(B) summed over k

  bool uses_bias_vector() const { return adds_bias || sums_columns || sums_a || sums_b; }
  bool uses_aux() const { return writes_aux || gelu_gradient; }
};

/// A matrix product as the descriptors state it.
struct Problem {
  MatmulDescriptor matmul;
  Layout a, b, c, d;
  Epilogue epilogue;
  uint64_t m = 0, n = 0, k = 0;

  cudaDataType type_a() const { return static_cast<cudaDataType>(a.type); }
  cudaDataType type_c() const { return static_cast<cudaDataType>(c.type); }
  bool is_tf32() const { return matmul.compute_type == CUBLAS_COMPUTE_32F_FAST_TF32; }
  int num_batches() const { return d.batch_count; }
  uint64_t num_flops() const { return 2 * m * n * k * static_cast<uint64_t>(d.batch_count); }
  /// Two problems with equal keys take the same algorithm. Addresses do not count.
  uint64_t key() const;
};

/// Accepts what NVIDIA documents for cublasLtMatmul with regular layouts and these types, and answers everything else
/// as the library does: INVALID_VALUE for what contradicts itself, NOT_SUPPORTED for what no kernel does.
///
///   A, B      C, D      compute type               scale    bias and auxiliary
///   float32   float32   32F, 32F_FAST_TF32         float32  float32
///   bfloat16  bfloat16  32F                        float32  bfloat16
///   bfloat16  float32   32F                        float32  float32
///   float16   float16   32F                        float32  float16
///   float16   float32   32F                        float32  float32
///
/// Every epilogue but DEFAULT needs a column-major D. Documented compute types that are not in this table (16F, 64F,
/// 32I, FAST_16F, ...) are not emulated and reported as `unsupported`, and so are float8 scales.
cublasStatus_t make_problem(cublasLtMatmulDesc_t matmul, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                            cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, Problem& problem);

/// What cublasLtMatmul checks besides, now that it has the addresses: presence and alignment of bias and auxiliary.
cublasStatus_t check_epilogue_addresses(const Problem& problem);

}  // namespace triptych::emulator
