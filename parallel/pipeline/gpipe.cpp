#include "parallel/pipeline/schedule.h"
#include "parallel/pipeline/stage_actions.h"

namespace triptych {

Schedule gpipe(int num_stages, int num_microbatches, LossCoupling coupling) {
  Schedule schedule{ScheduleKind::kGPipe, coupling, num_stages, num_microbatches, {}};
  schedule.stages.resize(static_cast<std::size_t>(num_stages));
  for (int s = 0; s < num_stages; ++s) {
    StageActions stage(s, num_stages, schedule.stages[static_cast<std::size_t>(s)]);
    for (int m = 0; m < num_microbatches; ++m) stage.forward(m);
    if (coupling == LossCoupling::kCoupled && stage.is_last()) stage.loss();
    for (int m = 0; m < num_microbatches; ++m) stage.backward(m);
  }
  return schedule;
}

}  // namespace triptych
