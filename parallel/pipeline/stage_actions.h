#pragma once

#include <string>
#include <utility>
#include <vector>

#include "parallel/pipeline/schedules.h"

namespace triptych::pipeline {

/// A schedule without actions whose stage s is owned by rank s % num_ranks.
inline Schedule schedule_in_turn(std::string name, const ScheduleSize& size) {
  Schedule schedule{.name = std::move(name),
                    .coupling = size.coupling,
                    .num_ranks = size.num_ranks,
                    .num_stages = size.num_ranks * size.virtual_stages,
                    .num_microbatches = size.num_microbatches};
  for (int s = 0; s < schedule.num_stages; ++s) schedule.rank_of_stage.push_back(s % size.num_ranks);
  schedule.ranks.resize(static_cast<std::size_t>(size.num_ranks));
  return schedule;
}

/// Appends one stage's work to the list of the rank that owns it: each computation with the messages around it. A
/// receive stands right before its use, a send right after what it sends; between stages of one rank there is none.
/// The schedule outlives this.
class StageActions {
 public:
  StageActions(Schedule& schedule, int stage)
      : stage_(stage),
        crosses_before_(stage > 0 && schedule.crosses_ranks(stage - 1)),
        crosses_after_(schedule.crosses_ranks(stage)),
        actions_(schedule.ranks[static_cast<std::size_t>(schedule.rank_of_stage[static_cast<std::size_t>(stage)])]) {}

  void forward(int microbatch) { compute_forward(Action::kForward, microbatch, false); }
  void embed(int microbatch) { compute_forward(Action::kEmbed, microbatch, true); }
  void loss() { add(Action::kLoss, 0, false); }
  void backward(int microbatch) { compute_backward(Action::kBackward, microbatch); }
  void backward_input(int microbatch) { compute_backward(Action::kBackwardInput, microbatch); }
  void backward_weight(int microbatch) { add(Action::kBackwardWeight, microbatch, false); }

 private:
  void compute_forward(Action::Kind kind, int microbatch, bool embed) {
    if (crosses_before_) add(Action::kRecvActivation, microbatch, embed);
    add(kind, microbatch, false);
    if (crosses_after_) add(Action::kSendActivation, microbatch, embed);
  }
  void compute_backward(Action::Kind kind, int microbatch) {
    if (crosses_after_) add(Action::kRecvGradient, microbatch, false);
    add(kind, microbatch, false);
    if (crosses_before_) add(Action::kSendGradient, microbatch, false);
  }
  void add(Action::Kind kind, int microbatch, bool embed) { actions_.push_back({kind, microbatch, stage_, embed}); }

  int stage_;
  bool crosses_before_, crosses_after_;
  std::vector<Action>& actions_;
};

/// What stands before the forwards of a schedule that does not keep all of them, if the loss is coupled: every stage
/// embeds all microbatches, and the last one evaluates the loss. Nothing if it is split.
inline void embed_first(Schedule& schedule) {
  if (schedule.coupling == LossCoupling::kSplit) return;
  for (int s = 0; s < schedule.num_stages; ++s) {
    for (int m = 0; m < schedule.num_microbatches; ++m) StageActions(schedule, s).embed(m);
  }
  StageActions(schedule, schedule.num_stages - 1).loss();
}

}  // namespace triptych::pipeline
