#pragma once

#include <span>
#include <vector>

#include "base/rooms.h"

namespace triptych::pipeline {

/// Which blocks each stage owns: blocks [begin[s], begin[s + 1]) on stage s.
struct Partition {
  std::vector<int> begin;  ///< [num_stages + 1]; begin[0] = 0, the last is the number of blocks
};

/// The contiguous split of the blocks into non-empty stages with the least maximum cost (exact, dynamic programming):
/// the slowest stage sets the pipeline's pace. Among those, the one with the least sum of squares, so the stages that
/// are not the slowest are even too; among those, the one with the latest cuts from the last stage backwards. So it is
/// a pure function of its arguments.
///
///   block_costs      [num_blocks] time or FLOPs of each block, finite and not negative
///   boundary_costs   [num_blocks - 1] or empty: what it costs each of the two stages if there is a cut after block i
///
/// Throws UserError if there are fewer blocks than stages, no stage, or a cost is not finite or is negative.
/// Cost: O(num_stages * num_blocks^2).
Partition partition_blocks(std::span<const double> block_costs, int num_stages,
                           std::span<const double> boundary_costs = {});

}  // namespace triptych::pipeline
