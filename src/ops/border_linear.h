#pragma once

#include <cstdint>

#include "autograd/variable.h"
#include "kernels/activation.h"

namespace triptych::ops {

/// The products at the border of a region whose weights an axis shards (Shoeybi et al. 2019, Megatron-LM), beside what
/// crosses the border: what comes in is gathered or, in backward, summed, what leaves is summed or, in backward,
/// gathered. Each is `redistribute` and `linear`, in one operation so that the one can go on while the other is
/// computed: pieces of the batch are multiplied as they come and are sent as they are made, and the weights' gradients,
/// for which nothing waits, are computed while gradients of activations travel (Wang et al. 2022, Overlap communication
/// with dependent computation via decomposition).
struct Border {
  Layout layout;           ///< behind it
  int64_t num_pieces = 1;  ///< of the first dim, as far as this rank has so many of its indices
  Mesh& mesh;
};

struct Entered {
  Variable x;  ///< redistribute(x, inside), for further products
  Variable y;  ///< linear(that, weight, bias)
};

/// The first product of a region.
///
///   x       [B, ..., I], outside
///   inside  how x is laid out for the product, and B here no other way than outside
///   weight, bias, out, returns `y`: as of `linear`, of x laid out so
///
/// Backward: keeps x as it is inside, or how that is made again. The gradients of the weight and the bias are computed
/// while that of x, which is Partial inside where the weight is sharded on O, is on its way.
/// Cost: that of `linear` and `redistribute`; a product in pieces reads the weight once for each.
/// Throws LayoutError as the two do.
Entered entering_linear(const Variable& x, const Variable& weight, const Variable& bias, DType out,
                        const Border& inside);

/// The last product of a region, and what becomes of its summands: redistribute(linear(h, weight), outside). Layouts of
/// h and weight as of `linear`, without bias. Backward: keeps h.
///
/// A weight with an adapter makes it in one piece, since the adapter's term is a summand too.
Variable leaving_linear(const Variable& h, const Variable& weight, DType out, const Border& outside);

/// redistribute(activated_linear(h, weight, activation), outside), in the same way.
Variable leaving_activated_linear(const Variable& h, const Variable& weight, Activation activation, DType out,
                                  const Border& outside);

}  // namespace triptych::ops
