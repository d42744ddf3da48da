#include <algorithm>

#include "parallel/pipeline/schedule.h"
#include "parallel/pipeline/stage_actions.h"

namespace triptych {

Schedule one_f_one_b(int num_stages, int num_microbatches, LossCoupling coupling) {
  Schedule schedule{ScheduleKind::k1F1B, coupling, num_stages, num_microbatches, {}};
  schedule.stages.resize(static_cast<std::size_t>(num_stages));
  for (int s = 0; s < num_stages; ++s) {
    StageActions stage(s, num_stages, schedule.stages[static_cast<std::size_t>(s)]);
    if (coupling == LossCoupling::kCoupled) {
      for (int m = 0; m < num_microbatches; ++m) stage.embed(m);
      if (stage.is_last()) stage.loss();
    }
    // The first gradient comes back to stage s after num_stages - 1 - s stages behind it did their first forward: so
    // many forwards fill the time until then.
    const int num_ahead = std::min(num_stages - 1 - s, num_microbatches);
    for (int m = 0; m < num_ahead; ++m) stage.forward(m);
    for (int m = num_ahead; m < num_microbatches; ++m) {
      stage.forward(m);
      stage.backward(m - num_ahead);
    }
    for (int m = num_microbatches - num_ahead; m < num_microbatches; ++m) stage.backward(m);
  }
  return schedule;
}

}  // namespace triptych
