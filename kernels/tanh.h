#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

/// y = tanh(x); `y` may be `x`.
///   x, y   dtype [n]: float32, bfloat16 or (on a GPU) float16
void tanh_forward(Stream& stream, const void* x, void* y, int64_t n, DType dtype);

struct TanhBackwardArgs {
  const void* y = nullptr;   ///< dtype [n], the forward's result
  const void* dy = nullptr;  ///< dtype [n]
  void* dx = nullptr;        ///< dtype [n], assigned; may be y or dy
  int64_t n = 0;
  DType dtype = DType::kFloat32;
};

/// dx = dy * (1 - y^2), computed as dy * (1 - y) * (1 + y), which loses nothing where y is near 1.
void tanh_backward(Stream& stream, const TanhBackwardArgs& args);

}  // namespace triptych::kernels
