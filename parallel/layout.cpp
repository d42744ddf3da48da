#include "parallel/layout.h"

#include <algorithm>
#include <optional>

#include "base/checked.h"
#include "parallel/largest_piece.h"

namespace triptych::parallel {
namespace {

// The other axes that split the dim of `axis` before it.
int num_levels_before(const Layout& layout, Axis axis) {
  int result = 0;
  for (const Axis other : kAxes) {
    if (layout[other].is_shard(layout[axis].dim) && layout[other].level < layout[axis].level) ++result;
  }
  return result;
}

}  // namespace

std::string Placement::to_string() const {
  switch (kind) {
    case Kind::kReplicate:
      return "Replicate";
    case Kind::kShard:
      return fmt::format("Shard({}{}{})", dim, level == 0 ? "" : fmt::format(", level {}", level),
                         is_near ? ", near" : "");
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

AxisSet Layout::partial_axes() const {
  AxisSet result;
  for (const Axis axis : kAxes) {
    if ((*this)[axis].is_partial()) result = result.with(axis);
  }
  return result;
}

std::string Layout::to_string() const {
  std::string text;
  for (const Axis axis : kAxes) {
    if ((*this)[axis].is_replicate()) continue;
    text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", axis_name(axis), (*this)[axis].to_string());
  }
  return text.empty() ? "Replicate" : text;
}

void check_levels(const Layout& layout) {
  for (const Axis axis : {Axis::kTp, Axis::kCp, Axis::kDp}) {
    if (!layout[axis].is_shard()) continue;
    const int dim = layout[axis].dim, level = layout[axis].level;
    bool is_alone = true;
    for (const Axis other : kAxes) {
      if (other != axis && layout[other].is_shard(dim) && layout[other].level == level) is_alone = false;
    }
    if (is_alone && level == num_levels_before(layout, axis)) continue;
    throw LayoutError(axis_name(axis),
                      fmt::format("the axes that split dim {} must have the levels 0, 1, ..., each once: {}. Number "
                                  "them from the outermost on: Placement::shard({}, level)",
                                  dim, layout.to_string(), dim));
  }
}

int num_pieces(const Placement& placement, Axis axis, const MeshShape& shape) {
  TRIPTYCH_CHECK(!placement.is_near || axis == Axis::kDp, "{} has no near ranks", axis_name(axis));
  return placement.is_near ? shape.num_near() : shape.size(axis);
}

Layout on_mesh(Layout layout, const MeshShape& shape) {
  for (const Axis axis : kAxes) {
    if (num_pieces(layout[axis], axis, shape) == 1) layout = layout.with(axis, Placement::replicate());
  }
  Layout result = layout;
  for (const Axis axis : kAxes) {
    if (!layout[axis].is_shard()) continue;
    const Placement shard = Placement::shard(layout[axis].dim, num_levels_before(layout, axis));
    const bool is_near = layout[axis].is_near && shape.num_near() < shape.dp;
    result = result.with(axis, is_near ? shard.near() : shard);
  }
  check_levels(result);
  return result;
}

Layout split_further(const Layout& layout, const Shape& global_shape, Axis axis, const MeshShape& shape) {
  if (!layout[axis].is_replicate() || global_shape.rank() == 0) {
    throw LayoutError(axis_name(axis),
                      fmt::format("cannot split {} {} further", layout.to_string(), global_shape.to_string()));
  }
  std::optional<Layout> best;
  int64_t best_elements = 0;
  for (int dim = 0; dim < global_shape.rank(); ++dim) {
    const auto level = static_cast<int>(
        std::count_if(kAxes.begin(), kAxes.end(), [&](Axis other) { return layout[other].is_shard(dim); }));
    const Placement shard = Placement::shard(dim, level);
    const bool is_near = axis == Axis::kDp && shape.num_near() < shape.dp;
    const Layout candidate = layout.with(axis, is_near ? shard.near() : shard);
    const Shape piece = largest_piece(global_shape, candidate, shape);
    if (best && piece.num_elements() >= best_elements) continue;
    best = candidate;
    best_elements = piece.num_elements();
  }
  return *best;
}

bool holds_first_copy(const Layout& layout, const Mesh& mesh) {
  return std::all_of(kAxes.begin(), kAxes.end(), [&](Axis axis) {
    if (layout[axis].is_near) return mesh.rank(axis) < num_pieces(layout[axis], axis, mesh.shape());
    return !layout[axis].is_replicate() || mesh.rank(axis) == 0;
  });
}

Range shard_range(int64_t total, int size, int rank) {
  const int64_t piece = ceil_div(total, size);
  const int64_t begin = std::min(total, piece * rank);
  return {begin, std::min(piece, total - begin)};
}

Shape local_shape(const Shape& global_shape, const Layout& layout, const Mesh& mesh, Shape* begin) {
  check_levels(layout);
  Shape shape = global_shape;
  Shape first = global_shape;
  for (int dim = 0; dim < first.rank(); ++dim) first[dim] = 0;
  for (int level = 0; level < static_cast<int>(kAxes.size()); ++level) {
    for (const Axis axis : kAxes) {
      if (!layout[axis].is_shard() || layout[axis].level != level) continue;
      const int dim = layout[axis].dim;
      const int pieces = num_pieces(layout[axis], axis, mesh.shape());
      const Range range = shard_range(shape[dim], pieces, mesh.rank(axis) % pieces);
      shape[dim] = range.length;
      first[dim] += range.begin;
    }
  }
  if (begin != nullptr) *begin = first;
  return shape;
}

}  // namespace triptych::parallel
