#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "parallel/mesh.h"
#include "tensor/shape.h"

namespace triptych {

/// What each rank on one axis holds of a tensor.
struct Placement {
  enum class Kind : uint8_t { kReplicate, kShard, kPartial };
  Kind kind = Kind::kReplicate;
  int dim = 0;                       ///< of kShard
  ReduceOp reduce = ReduceOp::kSum;  ///< of kPartial

  static constexpr Placement replicate() { return {}; }
  static constexpr Placement shard(int dim) { return {Kind::kShard, dim}; }
  /// A summand: the tensor is the sum over the ranks. Or the maximum over them, as the row maxima of a sharded softmax;
  /// that has no gradient.
  static constexpr Placement partial(ReduceOp reduce = ReduceOp::kSum) { return {Kind::kPartial, 0, reduce}; }

  constexpr bool is_replicate() const { return kind == Kind::kReplicate; }
  constexpr bool is_shard() const { return kind == Kind::kShard; }
  constexpr bool is_shard(int of) const { return kind == Kind::kShard && dim == of; }
  constexpr bool is_partial() const { return kind == Kind::kPartial; }
  constexpr bool operator==(const Placement&) const = default;
  /// "Replicate", "Shard(1)", "Partial", "Partial(max)".
  std::string to_string() const;
};

inline constexpr std::array<Axis, 3> kAxes{Axis::kDp, Axis::kCp, Axis::kTp};

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
  bool has_partial() const;
  /// "dp: Shard(0), tp: Partial"; axes that replicate are left out; "Replicate" if all do.
  std::string to_string() const;

 private:
  std::array<Placement, 3> placements_{};
};

/// `layout` with Replicate on the axes of one rank, where the placements mean the same: the form that every layout in
/// the program has, so that equal means equal.
Layout on_mesh(Layout layout, const Mesh& mesh);

/// [begin, begin + length): what rank `rank` of `size` holds of a dim of `total`. Pieces have ceil(total / size)
/// indices, the last ones fewer or none.
struct Range {
  int64_t begin = 0;
  int64_t length = 0;
  bool operator==(const Range&) const = default;
};
Range shard_range(int64_t total, int size, int rank);

/// The local shape of a tensor of the given global shape. With `begin` given, also where the piece starts in each dim.
/// A dim sharded on two axes is refused with LayoutError.
Shape local_shape(const Shape& global_shape, const Layout& layout, const Mesh& mesh, Shape* begin = nullptr);

}  // namespace triptych
