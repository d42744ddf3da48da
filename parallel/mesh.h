#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "device/device.h"
#include "parallel/group.h"

namespace triptych::parallel {

/// The axes on which tensors have placements. `pp` is apart: it says which stage owns a block.
enum class Axis : uint8_t { kDp, kCp, kTp };

inline constexpr std::array<Axis, 3> kAxes{Axis::kDp, Axis::kCp, Axis::kTp};

/// "dp", "cp", "tp".
constexpr std::string_view axis_name(Axis axis) {
  constexpr std::array<std::string_view, 3> kNames{"dp", "cp", "tp"};
  return kNames[static_cast<std::size_t>(axis)];
}

/// Some of the axes, such as those that a sum spans. A value; goes through its axes in the order of kAxes.
class AxisSet {
 public:
  class Iterator {
   public:
    constexpr explicit Iterator(unsigned left) : left_(left) {}
    constexpr Axis operator*() const { return static_cast<Axis>(std::countr_zero(left_)); }
    constexpr Iterator& operator++() {
      left_ &= left_ - 1;
      return *this;
    }
    constexpr bool operator==(const Iterator&) const = default;

   private:
    unsigned left_;  // one bit an axis
  };

  constexpr AxisSet() = default;
  constexpr AxisSet(Axis axis) : bits_(1u << static_cast<unsigned>(axis)) {}
  constexpr AxisSet(std::initializer_list<Axis> axes) {
    for (const Axis axis : axes) *this = with(axis);
  }
  /// Below 8, of a subset no higher: for tables of sets.
  static constexpr AxisSet of_index(std::size_t index) {
    AxisSet result;
    result.bits_ = static_cast<unsigned>(index);
    return result;
  }
  constexpr std::size_t index() const { return bits_; }

  constexpr AxisSet with(Axis axis) const { return of_index(bits_ | AxisSet(axis).bits_); }
  constexpr bool contains(Axis axis) const { return (bits_ & AxisSet(axis).bits_) != 0; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr bool operator==(const AxisSet&) const = default;
  constexpr Iterator begin() const { return Iterator(bits_); }
  constexpr Iterator end() const { return Iterator(0); }
  /// "dp+tp"; empty for no axis.
  std::string to_string() const;

 private:
  unsigned bits_ = 0;
};

struct MeshShape {
  int pp = 1, dp = 1, cp = 1, tp = 1;
  int dp_near = 0;  ///< divides dp: so many neighbours on it are near each other, such as those of a machine; 0: all
  int size(Axis axis) const { return axis == Axis::kDp ? dp : axis == Axis::kCp ? cp : tp; }
  /// dp_near, or all of dp.
  int num_near() const { return dp_near == 0 ? dp : dp_near; }
  bool operator==(const MeshShape&) const = default;
};

/// Where a rank is on the mesh.
struct MeshCoordinate {
  int pp = 0, dp = 0, cp = 0, tp = 0;
  int rank(Axis axis) const { return axis == Axis::kDp ? dp : axis == Axis::kCp ? cp : tp; }
  bool operator==(const MeshCoordinate&) const = default;
};

/// Throws UserError unless every axis has at least one rank, their product is the number of ranks, and neighbourhoods
/// divide dp. Needs no communicator, so it is called before there is one.
void check_mesh_shape(const MeshShape& shape, int num_ranks);

/// Ranks lie with tp fastest, then cp, dp, and pp slowest: tensor parallel neighbours share a node.
MeshCoordinate mesh_coordinate(const MeshShape& shape, int world_rank);
int mesh_world_rank(const MeshShape& shape, const MeshCoordinate& coordinate);

/// All ranks on named axes, seen from one of them. Owns the groups of its axes, whose operations are on device memory;
/// the world, whose operations are on the host's, and the device must outlive it.
///
/// There is a group for every set of axes, made here and once for the same ranks: axes of one rank make no difference,
/// so without tensor parallelism `dp` and `dp+tp` are one group, and without a pipeline so are `dp+cp+tp` and all
/// ranks.
class Mesh {
 public:
  /// Collective. Throws UserError like check_mesh_shape.
  Mesh(Group& world, const MeshShape& shape, Device& device);

  const MeshShape& shape() const { return shape_; }
  const MeshCoordinate& coordinate() const { return coordinate_; }
  int size(Axis axis) const { return shape_.size(axis); }
  int rank(Axis axis) const { return coordinate_.rank(axis); }

  /// All ranks, for agreement on the host: numbers, texts, errors.
  Group& world() const { return *world_; }
  /// All ranks, for tensors.
  Group& all_ranks() const { return *all_ranks_; }
  /// The ranks that differ from this one on `axes` alone, this rank alone for none: of one axis (the rank in it is the
  /// coordinate), or those that a sum over several spans. In the order of the world's ranks: dp slowest, then cp, tp.
  Group& group(AxisSet axes) const { return *by_axes_[axes.index()]; }
  /// The ranks of dp that are near this one, in their order; all of dp where the shape does not tell them apart.
  Group& near_dp() const { return *near_dp_; }
  /// One rank of dp of every such neighbourhood, the same place in each; this rank alone where there is but one.
  Group& far_dp() const { return *far_dp_; }
  /// One rank of every stage, the same place in each: rank p of it owns pipeline rank p. Neighbours send here.
  Group& pp() const { return *pp_; }
  /// Moves along what is in flight in any group of this rank; throws WorldError where a peer is known to have failed.
  void progress() const;
  /// Operations of all groups but the world's are seen by `trace` from now on, which outlives them; null: by none.
  void set_trace(Trace* trace);

 private:
  Group* world_;
  MeshShape shape_;
  MeshCoordinate coordinate_;
  std::vector<std::unique_ptr<Group>> groups_;
  std::array<Group*, 8> by_axes_{};  // by AxisSet::index()
  Group *near_dp_ = nullptr, *far_dp_ = nullptr, *pp_ = nullptr, *all_ranks_ = nullptr;
};

}  // namespace triptych::parallel
