#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// The same global tensor, laid out otherwise: the one operation that communicates (parallel/redistribute.h has the
/// table of collectives).
///
/// Where x is Replicate and stays so on an axis, nothing moves forward, but a gradient that comes back Partial is
/// completed: this is how a replicated activation enters a region whose weights are sharded.
///
/// Backward: the gradient goes from the layout in which it arrives to `x.layout().of_gradient()`.
/// Throws LayoutError if x is a maximum, which has no gradient.
Variable redistribute(const Variable& x, const Layout& to, Mesh& mesh);

}  // namespace triptych::ops
