#pragma once

#include "autograd/variable.h"
#include "kernels/layer_norm.h"

namespace triptych::ops {

/// Layer normalisation over the last dim, statistics in float32.
///
///   x [..., H]            any dim but the last may be sharded
///   weight, bias [H]      float32 parameters, Replicate
///   returns y as x
///
/// Backward: keeps x and two floats a row. If x has a gradient already (of the residual branch), it is added in the
/// same pass. Parameter gradients come out Partial on the axes that shard x. Local: never communicates.
Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, float epsilon = kLayerNormEpsilon);

/// The RMS norm over the last dim: layer_norm without the mean and the bias, with half of its parameters' gradients.
///
///   x [..., H]     any dim but the last may be sharded
///   weight [H]     a float32 parameter, Replicate
///   returns y as x, computed in float32 and rounded once
///
/// Backward: keeps x and a float a row; else as layer_norm. Source: Zhang and Sennrich 2019.
Variable rms_norm(const Variable& x, const Variable& weight, float epsilon = kLayerNormEpsilon);

}  // namespace triptych::ops
