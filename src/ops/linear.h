#pragma once

#include "autograd/variable.h"
#include "kernels/activation.h"

namespace triptych::ops {

/// y = x W^T (+ bias): a matrix product over the last dim of both.
///
///   x [..., I]         activations
///   weight [O..., I]   its leading dims become y's last dims, so that a packed projection [3, H, H] gives
///                      [..., 3, H] and can be sharded by heads
///   bias [O...]        a float32 parameter, or undefined
///   returns y [..., O...] of `out` dtype
///
/// Layouts by index, "...i,oi->...o" (an axis shards a row of x, O or I):
///   x Shard(row)   weight Replicate    y Shard(row)
///   x Replicate    weight Shard(o)     y Shard(o)        dx comes out Partial: enter with `redistribute`
///   x Shard(I)     weight Shard(I)     y Partial         no bias here: it is added after the reduction
///   x Partial      weight Replicate    y Partial         nor here
///
/// A weight that is a parameter with an adapter (autograd/parameter.h) has its term in y too. Its A is sharded as the
/// weight on I, its B as the weight on O, and the other of the two is Replicate, so that the term comes out laid out as
/// y: x A^T is whole where the weight is sharded on O, and Partial where it is on I.
///
/// Backward: keeps x. dW = dy^T x is summed in float32 and may be run apart, dx = dy W.
/// Cost: 2*M*I*O FLOPs forward, twice that backward; an adapter's term 2*M*rank*(I + O), and a pass over y.
/// Local: never communicates. Source of the term: Hu et al. 2021, LoRA, equation 3.
/// Throws LayoutError for other combinations.
Variable linear(const Variable& x, const Variable& weight, const Variable& bias, DType out);

/// y = f(h) W^T, of h [..., I], or [..., 2, I] where f is gated: a feed-forward layer's second half; weight [O..., I].
/// Keeps h alone: f(h) is computed again in backward, which costs one pass over h and saves as many bytes as f(h) has.
/// Layouts as `linear`, a gate's two halves whole, but h is never Partial; no bias. A weight's adapter as of `linear`.
Variable activated_linear(const Variable& h, const Variable& weight, Activation activation, DType out);

}  // namespace triptych::ops
