#include "parallel/largest_piece.h"

#include "base/checked.h"

namespace triptych::parallel {

Shape largest_piece(const Shape& global_shape, const Layout& layout, const MeshShape& shape) {
  Shape piece = global_shape;
  for (const Axis axis : kAxes) {
    if (!layout[axis].is_shard()) continue;
    int64_t& length = piece[layout[axis].dim];
    length = ceil_div(length, num_pieces(layout[axis], axis, shape));
  }
  return piece;
}

}  // namespace triptych::parallel
