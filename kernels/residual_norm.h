#pragma once

#include "kernels/layer_norm.h"
#include "kernels/residual.h"

namespace triptych::kernels {

/// residual_forward, and layer_norm_forward of the sum that it leaves, in one pass: the sum is written and not read.
///
/// norm.x is residual.out, and norm.y neither that nor an input; rows, cols and the three arrays' dtype agree, and z
/// has that dtype too.
void residual_norm_forward(Stream& stream, const ResidualForwardArgs& residual, const LayerNormForwardArgs& norm);

/// layer_norm_backward, and residual_backward of the dx that it leaves, in one pass: residual.dout is norm.dx, and
/// residual.dz none of norm's arrays. Uses the stream's scratch.
void residual_norm_backward(Stream& stream, const LayerNormBackwardArgs& norm, const ResidualBackwardArgs& residual);

}  // namespace triptych::kernels
