#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/stage_actions.h"

namespace triptych::pipeline {

Schedule zb_h1(const ScheduleSize& size) {
  Schedule schedule = schedule_in_turn("zb_h1", size);
  embed_first(schedule);
  for (int s = 0; s < schedule.num_stages; ++s) {
    StageActions stage(schedule, s);
    int num_forwards = 0, num_weights = 0;
    const auto forward = [&] {
      if (num_forwards < size.num_microbatches) stage.forward(num_forwards++);
    };
    for (int behind = s + 1; behind < schedule.num_stages; ++behind) forward();
    for (int m = 0; m < size.num_microbatches; ++m) {
      forward();
      stage.backward_input(m);
      if (m >= s) stage.backward_weight(num_weights++);
    }
    while (num_weights < size.num_microbatches) stage.backward_weight(num_weights++);
  }
  return schedule;
}

}  // namespace triptych::pipeline
