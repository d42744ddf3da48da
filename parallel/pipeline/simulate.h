#pragma once

#include <vector>

#include "base/error.h"
#include "parallel/pipeline/schedule.h"

namespace triptych {

/// A schedule that cannot be carried out; names the stage, the action and what it lacks.
struct ScheduleError : InternalError {
  using InternalError::InternalError;
};

/// Time of each action on each stage, in any unit; messages take none.
struct StageCosts {
  std::vector<double> forward, backward, embed;  ///< [num_stages]
  double loss = 0;                               ///< of kLoss

  /// The same on every stage; an embedding pass costs as much as a forward.
  static StageCosts uniform(int num_stages, double forward, double backward);
};

struct TimedAction {
  Action action;
  double start = 0, end = 0;
};

/// What a schedule does when it is carried out.
struct Simulation {
  std::vector<std::vector<TimedAction>> timeline;  ///< [num_stages]: kForward, kEmbed, kLoss, kBackward, by time
  double makespan = 0;                             ///< from the first action's start to the last one's end
  double bubble_fraction = 0;                      ///< idle time of all stages over num_stages * makespan
  std::vector<int> peak_activations;               ///< [num_stages]: microbatches whose graph is kept at once, at most
};

/// Carries out `schedule` on paper. Checks that
///   - every stage does kForward and kBackward of every microbatch exactly once, kEmbed of all of them once or of none,
///     and kLoss is there exactly once, on the last stage, if the loss is coupled, and not otherwise;
///   - every action's input was received or computed before, on its own stage;
///   - every result that a neighbour needs is sent exactly once, and each message meets the receive of the same name,
///   in
///     the same order;
///   - nobody waits for ever.
///
/// Throws ScheduleError naming the place (`stage 1, action 5 (RF3)`) and the rule; on a deadlock, every stage's place
/// and what it waits for. Throws UserError if a cost is negative or not finite, or their number is not num_stages.
/// Cost: linear in the number of actions. Pure.
Simulation simulate(const Schedule& schedule, const StageCosts& costs);

}  // namespace triptych
