#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "device/memory_stats.h"
#include "training/cluster.h"
#include "training/run_config.h"

namespace triptych::training {

/// What a step of a run would take on a cluster.
struct StepPlan {
  double seconds = 0;
  // Of a rank, the mean over the first ranks of all stages.
  Work work;  ///< that kernels have to do
  double compute_seconds = 0;
  double optimizer_seconds = 0;         ///< of those of compute
  std::map<std::string, double> waits;  ///< by group: what its operations take that nothing hides
  double bubble_seconds = 0;            ///< waits for other stages
  std::vector<MemoryStats> ranks;       ///< by pipeline rank: what its device holds at most
};

/// Runs steps of the engine itself on a device that computes nothing (see plan_memory), and puts rates to what they ask
/// for: kernels follow one another; an operation of a group starts when it is asked for and the operation before it on
/// its link is done, and whoever reads its result waits for it. What the actions of each stage take is then put into
/// the simulation of the schedule; messages between stages count where they are waited for.
///   num_batches   on the device at a time: see run_steps_on_paper
/// Throws what a run of the config would throw; InternalError in a program with another backend.
StepPlan plan_step(const RunConfig& config, const Cluster& cluster, int num_batches = 2);
/// The same of a run that the devices' memory must hold; nothing, found sooner, where it does not.
std::optional<StepPlan> plan_step_that_fits(const RunConfig& config, const Cluster& cluster);

/// A bound below plan_step(...).seconds of every config that differs from this one in `dp`, with a batch that grows
/// with it, in ZeRO and in recomputation: the kernels of one replica's schedule, as if nothing else took time. It costs
/// a third of a plan.
///
/// Why it is one: whatever these add (gathers and packing of pieces, larger contrasts, forwards that run again) is
/// added to those kernels, in each action; a simulated schedule takes no less where an action takes more.
/// Throws as plan_step.
double least_seconds(const RunConfig& config, const Cluster& cluster);

/// What the blocks of a model would take on a cluster, in the model's order, on the config's mesh but for `pp`.
struct BlockCosts {
  std::vector<double> seconds;      ///< forward and backward of a microbatch; the coupled loss is with the last block
  std::vector<double> fixed_bytes;  ///< that a rank holds of it whatever the schedule, at the peak
  std::vector<double> kept_bytes;   ///< and of a microbatch, from its forward to its backward, workspace included
};

/// Plans a pipeline in which every block is a stage. Throws as plan_step.
BlockCosts plan_blocks(const RunConfig& config, const Cluster& cluster);

}  // namespace triptych::training
