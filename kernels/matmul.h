#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"
#include "kernels/sum_target.h"

namespace triptych::kernels {

/// One matrix product, C = op(A) op(B) + bias, row-major, accumulated in float32 whatever the storage.
///
/// The three products of a linear layer y[M,out] = x[M,in] w[out,in]^T + bias:
///   y  : {m=M,   n=out, k=in,  a=x,  b=w, transpose_b=true}
///   dx : {m=M,   n=in,  k=out, a=dy, b=w}
///   dw : {m=out, n=in,  k=M,   a=dy, transpose_a=true, b=x}     float32, `accumulate` as wanted; a_sums=dbias
struct Matmul {
  int64_t m = 0, n = 0, k = 0;  ///< any may be 0; with k == 0 the product is 0

  const void* a = nullptr;   ///< op(A) is [m, k]: stored [m, k], or [k, m] if transpose_a
  int64_t a_row_stride = 0;  ///< elements from one stored row to the next; 0: rows are packed
  bool transpose_a = false;

  const void* b = nullptr;  ///< op(B) is [k, n]: stored [k, n], or [n, k] if transpose_b
  int64_t b_row_stride = 0;
  bool transpose_b = false;

  void* c = nullptr;  ///< [m, n]; must not overlap A, B or bias
  int64_t c_row_stride = 0;
  bool accumulate = false;  ///< C += instead of C =

  /// [n], added to every row; null for none. On a GPU, an output that is not float32 gets the bias rounded to its type.
  const float* bias = nullptr;

  /// [m], the sums over k of op(A)'s rows. Only of one product (batch = 1) with transpose_a, without bias and with a
  /// float32 output: the bias's gradient beside the weight's, from one reading of dy.
  SumTarget a_sums;

  DType input_dtype = DType::kFloat32;   ///< of A and B: float32, bfloat16 or (on a GPU) float16
  DType output_dtype = DType::kFloat32;  ///< of C: float32, or the inputs' type

  int64_t batch = 1;           ///< so many products, each on its own matrices; bias is shared
  int64_t a_batch_stride = 0;  ///< elements; 0: the batch shares one matrix (A or B), or C's are packed
  int64_t b_batch_stride = 0;
  int64_t c_batch_stride = 0;
};

/// The first call of a shape prepares it (about a millisecond); later calls allocate nothing. Uses the stream's
/// scratch.
///
/// Cost: 2*m*n*k*batch FLOPs.
/// Throws InternalError for dtypes or strides that the contract excludes.
void matmul(Stream& stream, const Matmul& product);

/// Whether float32 products on this stream may round their inputs to TF32's 11 significant bits, for a GPU's tensor
/// cores; not allowed unless this is called. On the CPU, allowing it throws UserError.
void allow_tf32(Stream& stream, bool allowed);

}  // namespace triptych::kernels
