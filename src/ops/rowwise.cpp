#include "ops/rowwise.h"

namespace triptych {

Layout summed_over_rows(std::string_view operation, const Layout& dy, int rank) {
  Layout result;
  for (const Axis axis : kAxes) {
    if (dy[axis].is_shard(rank - 1)) {
      throw LayoutError(axis_name(axis), fmt::format("{}: the last dim is sharded", operation));
    }
    if (!dy[axis].is_replicate()) result = result.with(axis, Placement::partial());
  }
  return result;
}

void require_whole_rows(std::string_view operation, const Layout& x, int rank) {
  for (const Axis axis : kAxes) {
    if (x[axis].is_partial() || x[axis].is_shard(rank - 1)) {
      throw LayoutError(axis_name(axis), fmt::format("{} needs whole rows, found {}. Redistribute its input", operation,
                                                     x[axis].to_string()));
    }
  }
}

SumTarget sum_target(InputGradients& in, int input, const Layout& layout) {
  bool assign = false;
  float* const data = in.parameter(input, layout, &assign).data<float>();
  return {data, assign};
}

}  // namespace triptych
