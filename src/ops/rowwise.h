#pragma once

#include <string_view>

#include "parallel/layout.h"

namespace triptych {

/// For operations that treat each row of the last dim alike: the layout of a parameter's gradient, summed over the
/// rows. It is Partial on the axes that shard the rows, and where dy itself is. Throws LayoutError naming `operation`
/// and the axis if the last dim is sharded.
Layout summed_over_rows(std::string_view operation, const Layout& dy, int rank);

/// Throws LayoutError if x is Partial or sharded by its last dim.
void require_whole_rows(std::string_view operation, const Layout& x, int rank);

}  // namespace triptych
