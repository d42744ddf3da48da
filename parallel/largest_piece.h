#pragma once

#include "parallel/layout.h"

namespace triptych::parallel {

/// The local shape of a tensor on the first rank, which has the largest piece. The same wherever it is asked, so that
/// ranks whose own pieces differ decide alike by it.
Shape largest_piece(const Shape& global_shape, const Layout& layout, const MeshShape& shape);

}  // namespace triptych::parallel
