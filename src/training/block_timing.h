#pragma once

#include <vector>

#include "training/run_config.h"
#include "training/session.h"

namespace triptych::training {

/// What the blocks of a config's model take on this rank, in seconds of a microbatch's forward and backward, in the
/// model's order; the coupled loss is with the last block. Runs steps with synthetic data in which every block is a
/// stage, all of one rank, whatever the config's mesh: with `tp` or `cp` a rank would have a part of that. Of each
/// action the fastest of `num_steps` counts.
///   world   of one rank
/// Throws UserError for a device that works behind the host's back (cuda), or for a model of fewer than two blocks or
/// more than a rank can have stages (kMaxVirtualStages).
std::vector<double> time_blocks(const RunConfig& config, Group& world, const RankPlace& place, int num_steps);

}  // namespace triptych::training
