#include "parallel/layout.h"

#include <algorithm>

#include "base/checked.h"

namespace triptych {

std::string Placement::to_string() const {
  switch (kind) {
    case Kind::kReplicate:
      return "Replicate";
    case Kind::kShard:
      return fmt::format("Shard({})", dim);
    case Kind::kPartial:
      return reduce == ReduceOp::kSum ? "Partial" : "Partial(max)";
  }
  return "?";
}

Layout Layout::of_gradient() const {
  Layout result = *this;
  for (const Axis axis : kAxes) {
    if (!(*this)[axis].is_partial()) continue;
    if ((*this)[axis].reduce != ReduceOp::kSum) {
      throw LayoutError(axis_name(axis), fmt::format("{} has no gradient. Redistribute the tensor, not the variable",
                                                     (*this)[axis].to_string()));
    }
    result = result.with(axis, Placement::replicate());
  }
  return result;
}

bool Layout::has_partial() const {
  return std::any_of(placements_.begin(), placements_.end(), [](const Placement& p) { return p.is_partial(); });
}

std::string Layout::to_string() const {
  std::string text;
  for (const Axis axis : kAxes) {
    if ((*this)[axis].is_replicate()) continue;
    text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", axis_name(axis), (*this)[axis].to_string());
  }
  return text.empty() ? "Replicate" : text;
}

Layout on_mesh(Layout layout, const Mesh& mesh) {
  for (const Axis axis : kAxes) {
    if (mesh.group(axis).size() == 1) layout = layout.with(axis, Placement::replicate());
  }
  return layout;
}

Range shard_range(int64_t total, int size, int rank) {
  const int64_t piece = ceil_div(total, size);
  const int64_t begin = std::min(total, piece * rank);
  return {begin, std::min(piece, total - begin)};
}

Shape local_shape(const Shape& global_shape, const Layout& layout, const Mesh& mesh, Shape* begin) {
  Shape shape = global_shape;
  Shape first = global_shape;
  for (int dim = 0; dim < first.rank(); ++dim) first[dim] = 0;
  for (const Axis axis : kAxes) {
    if (!layout[axis].is_shard() || mesh.group(axis).size() == 1) continue;
    const int dim = layout[axis].dim;
    if (shape[dim] != global_shape[dim]) {
      throw LayoutError(axis_name(axis), fmt::format("dim {} is sharded on two axes: {}", dim, layout.to_string()));
    }
    const Range range = shard_range(global_shape[dim], mesh.group(axis).size(), mesh.group(axis).rank());
    shape[dim] = range.length;
    first[dim] = range.begin;
  }
  if (begin != nullptr) *begin = first;
  return shape;
}

}  // namespace triptych
