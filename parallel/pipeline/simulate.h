#pragma once

#include <vector>

#include "base/error.h"
#include "parallel/pipeline/schedule.h"

namespace triptych::pipeline {

/// A schedule that cannot be carried out; names the rank, the action, its stage and what it lacks.
struct ScheduleError : InternalError {
  using InternalError::InternalError;
};

/// Time of each action on each stage, in any unit; messages take none.
struct StageCosts {
  std::vector<double> forward, backward, embed;         ///< [num_stages]
  std::vector<double> backward_input, backward_weight;  ///< [num_stages]
  double loss = 0;                                      ///< of kLoss
  /// Memory of a graph between the halves of its backward, of that which it takes before: it then holds the inputs of
  /// products and the gradients of their results (Qi et al. 2023 name the two M_W and M_B).
  double graph_between_halves = 1;

  /// The same on every stage. An embedding pass costs as much as a forward; `input_share` is the part of the backward
  /// that its input half takes, the weight half takes the rest.
  static StageCosts uniform(int num_stages, double forward, double backward, double input_share = 0.5);
};

struct TimedAction {
  Action action;
  double start = 0, end = 0;
};

/// What a schedule does when it is carried out.
struct Simulation {
  std::vector<std::vector<TimedAction>> timeline;  ///< [num_ranks]: what computes (no sends, receives), by time
  double makespan = 0;                             ///< from the first action's start to the last one's end
  double longest_span = 0;  ///< of a rank's first action's start to its last one's end, the most of all ranks: the time
                            ///< between two steps where ranks begin the next one when each is ready
  double bubble_fraction = 0;  ///< idle time of all ranks over num_ranks * makespan
  /// How many graphs are kept at once, at most: a graph is kept from kForward of a microbatch on a stage to the end of
  /// its kBackward or kBackwardWeight.
  std::vector<int> peak_activations;        ///< [num_ranks]: over all of the rank's stages
  std::vector<int> peak_stage_activations;  ///< [num_stages]
  /// The most memory of these, in graphs of a stage before their backward: see StageCosts::graph_between_halves.
  std::vector<double> peak_graphs;  ///< [num_ranks]
};

/// Carries out `schedule` on paper. Checks that
///   - every rank owns a stage, and every action is of a stage of its rank;
///   - every stage does kForward of every microbatch exactly once, then either kBackward or kBackwardInput and later
///     kBackwardWeight exactly once, and kEmbed of all of them once, or no stage of any;
///   - kLoss is there exactly once, on the last stage, if the loss is coupled, and not otherwise;
///   - every action's input was received, or computed before on the same rank;
///   - every result that a stage on another rank needs is sent exactly once, no other is sent, and each message meets
///     the receive of the same stage, microbatch and pass, in the order of its channel;
///   - nobody waits for ever.
///
/// Throws ScheduleError naming the place (`rank 1, action 5 (RF3 of stage 1)`) and the rule; on a deadlock, every
/// waiting rank's place and what it waits for. Throws UserError if a cost is negative or not finite, or their number is
/// not num_stages.
/// Cost: linear in the number of actions. Pure.
Simulation simulate(const Schedule& schedule, const StageCosts& costs);

}  // namespace triptych::pipeline
