#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

// Softmax and its logarithm over the rows of [rows, cols], in float32 and rounded once. A logit of -inf has the
// probability 0; a row with a NaN or an infinite logit, or with -inf alone, becomes NaN.

struct SoftmaxForwardArgs {
  const void* x = nullptr;  ///< dtype [rows, cols]
  void* y = nullptr;        ///< dtype [rows, cols]; may be x
  int64_t rows = 0;
  int64_t cols = 0;
  DType dtype = DType::kFloat32;  ///< float32, bfloat16 or (on a GPU) float16
};

struct SoftmaxBackwardArgs {
  const void* dy = nullptr;  ///< dtype [rows, cols]
  const void* y = nullptr;   ///< dtype [rows, cols], as the forward left it
  void* dx = nullptr;        ///< dtype [rows, cols], assigned; may be dy or y
  int64_t rows = 0;
  int64_t cols = 0;
  DType dtype = DType::kFloat32;
};

/// y = exp(x - m) / (the sum over the row of exp(x - m)), m the row's maximum.
void softmax_forward(Stream& stream, const SoftmaxForwardArgs& args);
/// dx = y * (dy - sum over the row of dy * y).
void softmax_backward(Stream& stream, const SoftmaxBackwardArgs& args);

/// y = x - m - log(the sum over the row of exp(x - m)).
void log_softmax_forward(Stream& stream, const SoftmaxForwardArgs& args);
/// dx = dy - exp(y) * (the sum over the row of dy).
void log_softmax_backward(Stream& stream, const SoftmaxBackwardArgs& args);

}  // namespace triptych::kernels
