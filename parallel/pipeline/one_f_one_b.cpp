#include <algorithm>

#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/stage_actions.h"

namespace triptych::pipeline {

Schedule one_f_one_b(const ScheduleSize& size) {
  Schedule schedule = schedule_in_turn("1f1b", size);
  embed_first(schedule);
  for (int s = 0; s < schedule.num_stages; ++s) {
    StageActions stage(schedule, s);
    // The first gradient comes back to stage s after the stages behind it did their first forward: so many forwards
    // fill the time until then.
    const int num_ahead = std::min(schedule.num_stages - 1 - s, size.num_microbatches);
    for (int m = 0; m < num_ahead; ++m) stage.forward(m);
    for (int m = num_ahead; m < size.num_microbatches; ++m) {
      stage.forward(m);
      stage.backward(m - num_ahead);
    }
    for (int m = size.num_microbatches - num_ahead; m < size.num_microbatches; ++m) stage.backward(m);
  }
  return schedule;
}

}  // namespace triptych::pipeline
