#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/stage_actions.h"

namespace triptych::pipeline {

Schedule gpipe(int num_ranks, int num_microbatches, LossCoupling coupling) {
  Schedule schedule = schedule_in_turn("gpipe", num_ranks, num_ranks, num_microbatches, coupling);
  for (int s = 0; s < schedule.num_stages; ++s) {
    StageActions stage(schedule, s);
    for (int m = 0; m < num_microbatches; ++m) stage.forward(m);
    if (coupling == LossCoupling::kCoupled && s + 1 == schedule.num_stages) stage.loss();
    for (int m = 0; m < num_microbatches; ++m) stage.backward(m);
  }
  return schedule;
}

}  // namespace triptych::pipeline
