#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "device/device.h"
#include "parallel/group.h"

namespace triptych {

/// The axes on which tensors have placements. `pp` is apart: it says which stage owns a block.
enum class Axis : uint8_t { kDp, kCp, kTp };

/// "dp", "cp", "tp".
constexpr std::string_view axis_name(Axis axis) {
  constexpr std::array<std::string_view, 3> kNames{"dp", "cp", "tp"};
  return kNames[static_cast<std::size_t>(axis)];
}

struct MeshShape {
  int pp = 1, dp = 1, cp = 1, tp = 1;
  int size(Axis axis) const { return axis == Axis::kDp ? dp : axis == Axis::kCp ? cp : tp; }
  bool operator==(const MeshShape&) const = default;
};

/// Where a rank is on the mesh.
struct MeshCoordinate {
  int pp = 0, dp = 0, cp = 0, tp = 0;
  int rank(Axis axis) const { return axis == Axis::kDp ? dp : axis == Axis::kCp ? cp : tp; }
  bool operator==(const MeshCoordinate&) const = default;
};

/// Throws UserError unless every axis has at least one rank and their product is the number of ranks. Needs no
/// communicator, so it is called before there is one.
void check_mesh_shape(const MeshShape& shape, int num_ranks);

/// Ranks lie with tp fastest, then cp, dp, and pp slowest: tensor parallel neighbours share a node.
MeshCoordinate mesh_coordinate(const MeshShape& shape, int world_rank);
int mesh_world_rank(const MeshShape& shape, const MeshCoordinate& coordinate);

/// All ranks on named axes, seen from one of them. Owns the groups of its axes, whose operations are on device memory;
/// the world, whose operations are on the host's, and the device must outlive it.
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
  /// The ranks that differ from this one on `axis` alone; the rank in it is the coordinate.
  Group& group(Axis axis) const { return *axes_[static_cast<std::size_t>(axis)]; }
  /// One rank of every stage, the same place in each: rank p of it owns pipeline rank p. Neighbours send here.
  Group& pp() const { return *pp_; }
  /// dp and tp (and cp) together, all ranks of this stage: sums of gradients that are Partial on both.
  Group& dp_tp() const { return *dp_tp_; }
  /// Moves along what is in flight in any group of this rank; throws WorldError where a peer is known to have failed.
  void progress() const;

 private:
  Group* world_;
  MeshShape shape_;
  MeshCoordinate coordinate_;
  std::array<std::unique_ptr<Group>, 3> axes_;
  std::unique_ptr<Group> pp_, dp_tp_, all_ranks_;
};

}  // namespace triptych
