#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "parallel/mesh.h"
#include "tensor/shape.h"

namespace triptych::parallel {

/// What each rank on one axis holds of a tensor.
struct Placement {
  enum class Kind : uint8_t { kReplicate, kShard, kPartial };
  Kind kind = Kind::kReplicate;
  int dim = 0;                       ///< of kShard
  int level = 0;                     ///< of kShard: how many other axes split the dim before this one
  ReduceOp reduce = ReduceOp::kSum;  ///< of kPartial
  bool is_near = false;              ///< of kShard, on dp: see near()

  static constexpr Placement replicate() { return {}; }
  /// A slice of `dim`. Of several axes that split one dim, level 0 splits all of it, level 1 the piece that level 0
  /// left, and so on.
  static constexpr Placement shard(int dim, int level = 0) { return {Kind::kShard, dim, level}; }
  /// This Shard, of dp, among near ranks alone (MeshShape::dp_near): every neighbourhood has a copy of the whole. What
  /// is laid out so is kept, not computed with: `redistribute` refuses it.
  constexpr Placement near() const {
    Placement result = *this;
    result.is_near = true;
    return result;
  }
  /// A summand: the tensor is the sum over the ranks. Or the maximum over them, as the row maxima of a sharded softmax;
  /// that has no gradient.
  static constexpr Placement partial(ReduceOp reduce = ReduceOp::kSum) { return {Kind::kPartial, 0, 0, reduce}; }

  constexpr bool is_replicate() const { return kind == Kind::kReplicate; }
  constexpr bool is_shard() const { return kind == Kind::kShard; }
  /// Of this dim, at any level.
  constexpr bool is_shard(int of) const { return kind == Kind::kShard && dim == of; }
  constexpr bool is_partial() const { return kind == Kind::kPartial; }
  constexpr bool operator==(const Placement&) const = default;
  /// "Replicate", "Shard(1)", "Shard(1, level 1)", "Shard(1, near)", "Partial", "Partial(max)".
  std::string to_string() const;
};

/// A placement for each axis of the mesh but `pp`; replicated where nothing is said.
class Layout {
 public:
  constexpr Layout() = default;

  constexpr const Placement& operator[](Axis axis) const { return placements_[static_cast<std::size_t>(axis)]; }
  /// This layout with another placement on one axis.
  constexpr Layout with(Axis axis, Placement placement) const {
    Layout result = *this;
    result.placements_[static_cast<std::size_t>(axis)] = placement;
    return result;
  }
  constexpr bool operator==(const Layout& other) const { return placements_ == other.placements_; }
  /// The layout that a gradient has when it is complete: as the tensor, but Replicate where the tensor is Partial
  /// (every summand has the gradient of the sum). Throws LayoutError for a maximum.
  Layout of_gradient() const;
  /// The axes over which the tensor is still to be summed, or its maximum to be taken.
  AxisSet partial_axes() const;
  /// "dp: Shard(0), tp: Partial"; axes that replicate are left out; "Replicate" if all do.
  std::string to_string() const;

 private:
  std::array<Placement, 3> placements_{};
};

/// Throws LayoutError, naming the axis, unless the axes that split a dim have the levels 0, 1, ..., each once.
void check_levels(const Layout& layout);

/// In how many pieces an axis of this Shard has its dim.
int num_pieces(const Placement& placement, Axis axis, const MeshShape& shape);

/// `layout` with Replicate on the axes of one rank, where the placements mean the same, and the levels of the others
/// numbered again without gaps: the form that every layout in the program has, so that equal means equal. Throws
/// LayoutError if two axes split a dim at one level.
Layout on_mesh(Layout layout, const MeshShape& shape);
inline Layout on_mesh(const Layout& layout, const Mesh& mesh) {
  return on_mesh(layout, mesh.shape());
}

/// `layout` with `axis`, which it must replicate, as the innermost level of one more dim: the one that leaves the
/// smallest largest piece, of such dims the first. dp is split among near ranks alone where the shape tells them apart.
/// Throws LayoutError unless the axis replicates, and for a tensor without dims. Under `on_mesh` an axis of one rank
/// makes no difference, as ever.
Layout split_further(const Layout& layout, const Shape& global_shape, Axis axis, const MeshShape& shape);

/// Whether this rank's piece of a tensor is one that counts where the pieces of all ranks are put together and each
/// element may come once: of a sharded or Partial tensor every rank's, of copies the first rank's.
bool holds_first_copy(const Layout& layout, const Mesh& mesh);

/// [begin, begin + length): what rank `rank` of `size` holds of a dim of `total`. Pieces have ceil(total / size)
/// indices, the last ones fewer or none.
struct Range {
  int64_t begin = 0;
  int64_t length = 0;
  bool operator==(const Range&) const = default;
};
Range shard_range(int64_t total, int size, int rank);

/// The local shape of a tensor of the given global shape. With `begin` given, also where the piece starts in each dim.
/// Where several axes split a dim, each takes its shard_range of the piece that the levels before it left, which may be
/// shorter than others or empty. Throws LayoutError as check_levels does.
Shape local_shape(const Shape& global_shape, const Layout& layout, const Mesh& mesh, Shape* begin = nullptr);

}  // namespace triptych::parallel
