#include "parallel/pipeline/schedules.h"

#include <array>

#include <fmt/format.h>

#include "base/error.h"

namespace triptych::pipeline {

namespace {

constexpr std::array kScheduleKinds{
    ScheduleKind{"gpipe", "all forwards, then all backwards, so that the activations of all microbatches are kept",
                 gpipe},
    ScheduleKind{"1f1b",
                 "a backward as soon as it can be, so that a stage keeps at most as many activations as there are "
                 "stages (with a contrastive loss at the price of one more forward)",
                 one_f_one_b},
};

}  // namespace

std::span<const ScheduleKind> schedule_kinds() {
  return kScheduleKinds;
}

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const ScheduleKind& kind : schedule_kinds()) names.emplace_back(kind.name);
  return names;
}

std::string describe_schedules() {
  std::string text;
  for (const ScheduleKind& kind : schedule_kinds()) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", kind.name, kind.description);
  }
  return text;
}

Schedule make_schedule(std::string_view name, int num_ranks, int num_microbatches, LossCoupling coupling) {
  if (num_ranks < 1 || num_ranks > kMaxPipelineRanks) {
    throw UserError("pipeline", fmt::format("the number of pipeline ranks must be 1 to {}, found {}.",
                                            kMaxPipelineRanks, num_ranks));
  }
  if (num_microbatches < 1 || num_microbatches > kMaxMicrobatches) {
    throw UserError("pipeline", fmt::format("the number of microbatches must be 1 to {}, found {}.", kMaxMicrobatches,
                                            num_microbatches));
  }
  if (int64_t{num_ranks} * num_microbatches > kMaxScheduleCells) {
    throw UserError("pipeline", fmt::format("ranks times microbatches must be at most {}, found {} * {}. Take fewer "
                                            "microbatches.",
                                            kMaxScheduleCells, num_ranks, num_microbatches));
  }
  for (const ScheduleKind& kind : schedule_kinds()) {
    if (kind.name == name) return kind.make(num_ranks, num_microbatches, coupling);
  }
  throw UserError("parallel.schedule",
                  fmt::format("must be one of {}, found \"{}\".", fmt::join(schedule_names(), ", "), name));
}

}  // namespace triptych::pipeline
