#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/stage_actions.h"

namespace triptych::pipeline {

Schedule gpipe(const ScheduleSize& size) {
  Schedule schedule = schedule_in_turn("gpipe", size);
  for (int s = 0; s < schedule.num_stages; ++s) {
    StageActions stage(schedule, s);
    for (int m = 0; m < size.num_microbatches; ++m) stage.forward(m);
    if (size.coupling == LossCoupling::kCoupled && s + 1 == schedule.num_stages) stage.loss();
    for (int m = 0; m < size.num_microbatches; ++m) stage.backward(m);
  }
  return schedule;
}

}  // namespace triptych::pipeline
