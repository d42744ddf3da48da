#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

/// What a feed-forward layer does between its two products. With sigmoid(z) = 1 / (1 + exp(-z)):
enum class Activation {
  kGelu,  ///< x * Phi(x), Phi the normal distribution function: the exact GELU (Hendrycks and Gimpel 2016), as ViT's
          ///< and BERT's
  kGeluTanh,   ///< x * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2: its approximation, as GPT-2's and SigLIP's
  kGeluQuick,  ///< x * sigmoid(1.702 x): a coarser one, as CLIP's
  kSwiglu,     ///< gate * sigmoid(gate) * x (Shazeer 2020, with SiLU): gated, as Llama's
};

/// Of two halves that lie side by side, the gate and what it multiplies.
constexpr bool is_gated(Activation activation) {
  return activation == Activation::kSwiglu;
}

struct ActivationForwardArgs {
  const void* h = nullptr;  ///< dtype [rows, cols]; gated: [rows, 2, cols], the gate first
  void* a = nullptr;        ///< dtype [rows, cols]; may be h if that is not gated
  int64_t rows = 0;
  int64_t cols = 0;
  Activation activation = Activation::kGelu;
  DType dtype = DType::kFloat32;  ///< float32, bfloat16 or (on a GPU) float16
};

/// a = f(h), element by element, in float32 and rounded once.
void activation_forward(Stream& stream, const ActivationForwardArgs& args);

struct ActivationBackwardArgs {
  const void* h = nullptr;   ///< the forward's input
  const void* da = nullptr;  ///< dtype [rows, cols]
  void* dh = nullptr;        ///< dtype, of h's shape, assigned; may be da if h is not gated
  void* a = nullptr;         ///< dtype [rows, cols] or null: f(h) again, the forward's very bits
  int64_t rows = 0;
  int64_t cols = 0;
  Activation activation = Activation::kGelu;
  DType dtype = DType::kFloat32;
};

/// dh = da * f'(h), of both halves where h is gated. Training keeps h and not a: this pass writes both.
void activation_backward(Stream& stream, const ActivationBackwardArgs& args);

}  // namespace triptych::kernels
