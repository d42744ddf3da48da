#pragma once

#include <string>
#include <vector>

#include "parallel/layout.h"

namespace triptych::parallel {

/// One axis gets another placement, by one collective over it, or none.
struct RedistributeStep {
  enum class Kind : uint8_t { kSlice, kReduceScatter, kAllToAll, kAllReduce, kAllGather };
  Kind kind = Kind::kSlice;
  Axis axis = Axis::kDp;
  Placement from, to;

  bool reduces() const { return kind == Kind::kReduceScatter || kind == Kind::kAllReduce; }
  bool operator==(const RedistributeStep&) const = default;
  /// "all_gather(tp: Shard(1) -> Replicate)".
  std::string to_string() const;
};

/// How a tensor gets from one layout to another: the steps, in order, that `redistribute` executes (its header has the
/// table of them). A pure function, so that all ranks take the same steps.
///
/// A layout is a place, a step an edge to the next. There is an edge where
///   - a Shard leaves its dim, if no other axis splits the piece that it left (it is the innermost level);
///   - a Shard comes to a dim as its innermost level, so that its level is how many axes split the dim before;
///   - a Partial is completed.
/// An axis goes straight to its target, or to Replicate and from there to its target: also one that is not to change
/// but stands in the way, a level further in than one that leaves. Of all such ways it is the one on which the fewest
/// bytes are sent, of those the one with fewest steps, of those the one that changes tp before cp before dp. So slices
/// come first, reductions before gathers; and a change of one axis is always one step.
///
/// Bytes are counted as for equal pieces; a dim that the axes do not divide, or a sum of 16-bit numbers, moves more.
/// Throws LayoutError as check_levels does; if something is to become a Partial, or another kind of it; and for sums on
/// one axis beside maxima on another, which have no order.
std::vector<RedistributeStep> plan_redistribute(const Layout& from, const Layout& to, const MeshShape& shape);

}  // namespace triptych::parallel
