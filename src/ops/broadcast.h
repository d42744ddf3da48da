#pragma once

#include "autograd/variable.h"
#include "parallel/mesh.h"

namespace triptych::ops {

/// y [size, ...]: x in every index of a new first dim, in contiguous memory of its own.
///
///   size     of the new dim, over all ranks
///   layout   on `mesh`; what it says of dim 0 holds for the new one, as Shard(0) on `dp` for a batch. Its other
///            placements are not looked at: the other dims lie as x's
///
/// Backward: keeps nothing. The gradient is the sum over the new dim, in float32, Partial on the axes that shard it.
/// Local: never communicates.
/// Throws LayoutError if x is Partial, or not Replicate on an axis that shards the new dim.
Variable broadcast(const Variable& x, int64_t size, const Layout& layout, const Mesh& mesh);

}  // namespace triptych::ops
