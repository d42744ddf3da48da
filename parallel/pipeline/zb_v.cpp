#include <algorithm>

#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/stage_actions.h"

namespace triptych::pipeline {

namespace {

// One of a rank's two stages, with how far it has come in each direction. What goes past the last microbatch is left
// out: a step of few microbatches is the beginning and the end of a longer one.
class Arm {
 public:
  Arm(Schedule& schedule, int stage) : actions_(schedule, stage), num_microbatches_(schedule.num_microbatches) {}

  int num_forwards() const { return num_forwards_; }

  void forward() {
    if (num_forwards_ < num_microbatches_) actions_.forward(num_forwards_);
    ++num_forwards_;
  }
  void backward_input() {
    if (num_inputs_ < num_microbatches_) actions_.backward_input(num_inputs_);
    ++num_inputs_;
  }
  void backward_weight() {
    if (num_weights_ < num_microbatches_) actions_.backward_weight(num_weights_);
    ++num_weights_;
  }
  void backward() {
    backward_input();
    backward_weight();
  }
  void finish_weights() {
    while (num_weights_ < num_inputs_) backward_weight();
  }

 private:
  StageActions actions_;
  int num_microbatches_;
  int num_forwards_ = 0, num_inputs_ = 0, num_weights_ = 0;
};

}  // namespace

Schedule zb_v(const ScheduleSize& size) {
  const int p = size.num_ranks;
  Schedule schedule = schedule_in_turn("zb_v", size);
  for (int s = p; s < 2 * p; ++s) schedule.rank_of_stage[static_cast<std::size_t>(s)] = 2 * p - 1 - s;
  embed_first(schedule);
  const int num_rounds = std::max(size.num_microbatches, 2 * p - 1);
  for (int r = 0; r < p; ++r) {
    Arm down(schedule, r), up(schedule, 2 * p - 1 - r);
    // Until the first microbatch is back at this rank there is room for the forwards of others; then both arms have
    // work, the one that comes back first.
    for (int i = 0; i < 2 * (p - r) - 1; ++i) down.forward();
    for (int i = 0; i < r; ++i) {
      up.forward();
      down.forward();
    }
    for (int i = 0; i < p - r; ++i) {
      up.forward();
      up.backward();
    }
    while (up.num_forwards() < down.num_forwards() || down.num_forwards() < num_rounds) {
      if (down.num_forwards() < num_rounds) down.forward();
      down.backward();
      up.forward();
      up.backward();
    }
    // The ranks before this one wait for gradients, so those come first; the weights of what they pass fill the end.
    for (int i = 0; i < r; ++i) {
      down.backward_input();
      up.backward_input();
    }
    for (int i = 0; i < p - r; ++i) {
      down.backward_input();
      down.backward_weight();
    }
    up.finish_weights();
    down.finish_weights();
  }
  return schedule;
}

}  // namespace triptych::pipeline
