#include "parallel/pipeline/schedule.h"

#include <fmt/core.h>

#include "base/error.h"

namespace triptych {

std::string to_string(const Action& action) {
  const char passed = action.embed ? 'E' : 'F';
  switch (action.kind) {
    case Action::kForward:
      return fmt::format("F{}", action.microbatch);
    case Action::kEmbed:
      return fmt::format("E{}", action.microbatch);
    case Action::kLoss:
      return "L";
    case Action::kBackward:
      return fmt::format("B{}", action.microbatch);
    case Action::kSendActivation:
      return fmt::format("S{}{}", passed, action.microbatch);
    case Action::kRecvActivation:
      return fmt::format("R{}{}", passed, action.microbatch);
    case Action::kSendGradient:
      return fmt::format("SB{}", action.microbatch);
    case Action::kRecvGradient:
      return fmt::format("RB{}", action.microbatch);
  }
  return fmt::format("?{}", action.microbatch);
}

std::string_view schedule_kind_name(ScheduleKind kind) {
  return kind == ScheduleKind::kGPipe ? "gpipe" : "1f1b";
}

ScheduleKind parse_schedule_kind(std::string_view name) {
  for (const ScheduleKind kind : {ScheduleKind::kGPipe, ScheduleKind::k1F1B}) {
    if (name == schedule_kind_name(kind)) return kind;
  }
  throw UserError("parallel.schedule", fmt::format("must be \"gpipe\" or \"1f1b\", found \"{}\".", name));
}

Schedule make_schedule(ScheduleKind kind, int num_stages, int num_microbatches, LossCoupling coupling) {
  if (num_stages < 1 || num_stages > kMaxStages) {
    throw UserError("pipeline", fmt::format("the number of stages must be 1 to {}, found {}.", kMaxStages, num_stages));
  }
  if (num_microbatches < 1 || num_microbatches > kMaxMicrobatches) {
    throw UserError("pipeline", fmt::format("the number of microbatches must be 1 to {}, found {}.", kMaxMicrobatches,
                                            num_microbatches));
  }
  if (int64_t{num_stages} * num_microbatches > kMaxScheduleCells) {
    throw UserError("pipeline", fmt::format("stages times microbatches must be at most {}, found {} * {}. Take fewer "
                                            "microbatches.",
                                            kMaxScheduleCells, num_stages, num_microbatches));
  }
  return kind == ScheduleKind::kGPipe ? gpipe(num_stages, num_microbatches, coupling)
                                      : one_f_one_b(num_stages, num_microbatches, coupling);
}

}  // namespace triptych
