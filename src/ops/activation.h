#pragma once

#include <string_view>

#include "autograd/variable.h"
#include "kernels/activation.h"

namespace triptych::ops {

inline constexpr Activation kActivations[] = {Activation::kGelu, Activation::kGeluTanh, Activation::kGeluQuick,
                                              Activation::kSwiglu};
/// "gelu", "gelu_tanh", "gelu_quick", "swiglu".
std::string_view activation_name(Activation activation);

/// y = f(h), element by element. For h of any shape and layout but Partial; gated: h [..., 2, F], the gate first, with
/// those two whole, and y [..., F].
///
/// Backward: keeps h. Local: never communicates. Source: those that kernels/activation.h names.
Variable activate(const Variable& h, Activation activation);

/// The exact GELU.
inline Variable gelu(const Variable& h) {
  return activate(h, Activation::kGelu);
}

}  // namespace triptych::ops
