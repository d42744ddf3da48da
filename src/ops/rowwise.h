#pragma once

#include <string_view>

#include "autograd/variable.h"
#include "kernels/sum_target.h"
#include "parallel/layout.h"

namespace triptych {

/// For operations that treat each row of the last dim alike: the layout of a parameter's gradient, summed over the
/// rows. It is Partial on the axes that shard the rows, and where dy itself is. Throws LayoutError naming `operation`
/// and the axis if the last dim is sharded.
Layout summed_over_rows(std::string_view operation, const Layout& dy, int rank);

/// Throws LayoutError if x is Partial or sharded by its last dim.
void require_whole_rows(std::string_view operation, const Layout& x, int rank);

/// Where a kernel leaves the gradient of the parameter that is an operation's input: it is assigned if there is none
/// yet, which saves clearing it first.
SumTarget sum_target(InputGradients& in, int input, const Layout& layout);

}  // namespace triptych
