#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"
#include "kernels/sum_target.h"

namespace triptych::kernels {

/// What keeps a row of equal elements from a division by zero, where nothing else is said.
inline constexpr float kLayerNormEpsilon = 1e-5f;

struct LayerNormForwardArgs {
  const void* x = nullptr;        ///< dtype [rows, cols]
  const float* weight = nullptr;  ///< [cols]
  const float* bias = nullptr;    ///< [cols], or null: none
  void* y = nullptr;              ///< dtype [rows, cols]; may be x
  float* mean = nullptr;          ///< [rows], or null for the RMS norm
  float* rstd = nullptr;          ///< [rows], 1 / sqrt(variance + epsilon)
  int64_t rows = 0;
  int64_t cols = 0;
  float epsilon = kLayerNormEpsilon;
  DType dtype = DType::kFloat32;  ///< float32, bfloat16 or (on a GPU) float16
};

/// y = (x - mean) * rstd * weight + bias, a row at a time. The variance is the mean of the squared deviations.
/// Source: Ba et al. 2016, Layer Normalization.
///
/// The RMS norm is the same with 0 as the mean: y = x / sqrt(mean(x^2) + epsilon) * weight, all in float32 and rounded
/// once. (Llama's in `transformers` rounds to 16 bits before the weight, too; in float32 they are one.)
/// Source: Zhang and Sennrich 2019, Root Mean Square Layer Normalization.
void layer_norm_forward(Stream& stream, const LayerNormForwardArgs& args);

struct LayerNormBackwardArgs {
  const void* dy = nullptr;       ///< dtype [rows, cols]
  const void* x = nullptr;        ///< dtype [rows, cols]
  const float* weight = nullptr;  ///< [cols]
  const float* mean = nullptr;    ///< [rows], as the forward left it; null for the RMS norm
  const float* rstd = nullptr;    ///< [rows]
  const void* add = nullptr;      ///< dtype [rows, cols] or null: the residual branch's gradient, added into dx
  void* dx = nullptr;             ///< dtype [rows, cols], assigned; may be dy or add
  SumTarget dweight;              ///< [cols]
  SumTarget dbias;                ///< [cols]
  int64_t rows = 0;
  int64_t cols = 0;
  DType dtype = DType::kFloat32;  ///< of dy, x, add and dx
};

/// With n = (x - mean) * rstd and g = dy * weight:  dx = rstd * (g - mean(g) - n * mean(g * n)) + add,
/// dweight: sum over rows of dy * n, dbias: sum over rows of dy. Of the RMS norm, n = x * rstd and mean(g) is left out.
/// Uses the stream's scratch. The sums over rows do not depend on the number of threads.
void layer_norm_backward(Stream& stream, const LayerNormBackwardArgs& args);

}  // namespace triptych::kernels
