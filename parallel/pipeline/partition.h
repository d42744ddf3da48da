#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/rooms.h"

namespace triptych::pipeline {

/// Which blocks each stage owns: blocks [begin[s], begin[s + 1]) on stage s.
struct Partition {
  std::vector<int> begin;  ///< [num_stages + 1]; begin[0] = 0, the last is the number of blocks
};

/// What blocks hold of a device's memory, in bytes, and how much of it a stage may have.
struct StageMemory {
  std::span<const double> fixed;   ///< [num_blocks] whatever the schedule: weights, gradients, the optimizer's state
  std::span<const double> kept;    ///< [num_blocks] of a microbatch, from its forward to its backward
  std::span<const double> graphs;  ///< [num_stages] microbatches that a stage keeps at once, at most
  double limit = 0;                ///< of sum(fixed) + graphs * sum(kept)
};

/// The contiguous split of the blocks into non-empty stages with the least maximum cost (exact, dynamic programming):
/// the slowest stage sets the pipeline's pace. Among those, the one with the least sum of squares, so the stages that
/// are not the slowest are even too; among those, the one with the latest cuts from the last stage backwards. So it is
/// a pure function of its arguments. With `memory`, of those alone of which every stage holds at most its limit.
///
///   block_costs      [num_blocks] time or FLOPs of each block, finite and not negative
///   boundary_costs   [num_blocks - 1] or empty: what it costs each of the two stages if there is a cut after block i
///
/// Throws UserError if there are fewer blocks than stages, no stage, a cost is not finite or is negative, or no split
/// is within the memory. Cost: O(num_stages * num_blocks^2).
Partition partition_blocks(std::span<const double> block_costs, int num_stages,
                           std::span<const double> boundary_costs = {},
                           const std::optional<StageMemory>& memory = std::nullopt);

}  // namespace triptych::pipeline
