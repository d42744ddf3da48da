#pragma once

#include <cstdint>

#include "device/stream.h"

namespace triptych::kernels {

/// Norms below this are taken as this, so a row of zeros stays zeros (and its gradient stays finite).
inline constexpr float kMinNorm = 1e-12f;

struct L2NormalizeForwardArgs {
  const float* x = nullptr;   ///< [rows, cols]
  float* y = nullptr;         ///< [rows, cols]; may be x
  float* inv_norm = nullptr;  ///< [rows]
  int64_t rows = 0;
  int64_t cols = 0;
};

/// y = x * inv_norm, inv_norm = 1 / max(|x|, kMinNorm), a row at a time; the squares are summed in double.
void l2_normalize_forward(Stream& stream, const L2NormalizeForwardArgs& args);

struct L2NormalizeBackwardArgs {
  const float* dy = nullptr;        ///< [rows, cols]
  const float* y = nullptr;         ///< [rows, cols], the forward's result
  const float* inv_norm = nullptr;  ///< [rows]
  float* dx = nullptr;              ///< [rows, cols], assigned; may be dy
  int64_t rows = 0;
  int64_t cols = 0;
};

/// dx = inv_norm * (dy - y * (y . dy)); where the norm was below kMinNorm, dx = inv_norm * dy.
void l2_normalize_backward(Stream& stream, const L2NormalizeBackwardArgs& args);

}  // namespace triptych::kernels
