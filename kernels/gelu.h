#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

/// a = h * Phi(h), Phi the normal distribution function: the exact GELU, not the approximation by tanh. `a` may be `h`.
/// Source: Hendrycks and Gimpel 2016, Gaussian Error Linear Units.
void gelu_forward(Stream& stream, const void* h, void* a, int64_t n, DType dtype);

struct GeluBackwardArgs {
  const void* h = nullptr;   ///< dtype [n], the forward's input
  const void* da = nullptr;  ///< dtype [n]
  void* dh = nullptr;        ///< dtype [n], assigned; may be da
  void* a = nullptr;         ///< dtype [n] or null: gelu(h) again, the forward's very bits; may be h
  int64_t n = 0;
  DType dtype = DType::kFloat32;  ///< float32, bfloat16 or (on a GPU) float16
};

/// dh = da * (Phi(h) + h * phi(h)). Training keeps h and not a: this pass writes both.
void gelu_backward(Stream& stream, const GeluBackwardArgs& args);

}  // namespace triptych::kernels
