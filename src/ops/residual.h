#pragma once

#include "autograd/variable.h"
#include "kernels/layer_norm.h"
#include "ops/dropout.h"

namespace triptych::ops {

/// y = x + dropout(z + bias), the branch of whole samples dropped too where there is stochastic depth.
///
///   x, z [B, S, H]   laid out alike, H whole
///   bias [H]         float32, Replicate: here and not in the row-parallel product, so that it counts once;
///                    undefined: there is none
///
/// Backward: keeps nothing but the key; draws the mask again. Local: never communicates.
/// Throws LayoutError by the rule "bsh!,bsh!,h->bsh".
Variable residual(const Variable& x, const Variable& z, const Variable& bias, const Dropout& dropout, const Mesh& mesh);

struct ResidualNorm {
  Variable sum;         ///< residual(x, z, bias, ...)
  Variable normalized;  ///< layer_norm(sum, weight, norm_bias), or rms_norm(sum, weight)
};

/// Residual and the norm that follows it, in one pass over memory each way; z has x's dtype. An undefined norm_bias
/// makes that the RMS norm, which has none.
///
/// Backward: keeps the sum and two floats a row, or one. Local: never communicates.
/// Throws LayoutError as the two do.
ResidualNorm residual_norm(const Variable& x, const Variable& z, const Variable& bias, const Dropout& dropout,
                           const Variable& weight, const Variable& norm_bias, const Mesh& mesh,
                           float epsilon = kLayerNormEpsilon);

}  // namespace triptych::ops
