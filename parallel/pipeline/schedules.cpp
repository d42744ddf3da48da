#include "parallel/pipeline/schedules.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"

namespace triptych::pipeline {

namespace {

constexpr std::array kScheduleKinds{
    ScheduleKind{"gpipe", "all forwards, then all backwards, so that the activations of all microbatches are kept", 1,
                 1, gpipe},
    ScheduleKind{"1f1b",
                 "a backward as soon as it can be, so that a stage keeps at most as many activations as there are "
                 "stages (with a contrastive loss, here and below, at the price of one more forward)",
                 1, 1, one_f_one_b},
    ScheduleKind{"interleaved",
                 "1f1b over parallel.virtual_stages stages a rank, which divides the idle time by their number, for "
                 "more activations and messages",
                 1, kMaxVirtualStages, interleaved},
    ScheduleKind{"zb_h1",
                 "1f1b whose backwards of weights wait until a rank would be idle: a third of its idle time where "
                 "forward and both halves of backward take as long",
                 1, 1, zb_h1},
    ScheduleKind{"zb_v",
                 "two stages a rank, there and back, and backwards in halves: no idle time where forward and both "
                 "halves take as long",
                 2, 2, zb_v},
};

}  // namespace

std::span<const ScheduleKind> schedule_kinds() {
  return kScheduleKinds;
}

const ScheduleKind& schedule_kind(std::string_view name) {
  const auto* found = std::ranges::find(kScheduleKinds, name, &ScheduleKind::name);
  if (found != kScheduleKinds.end()) return *found;
  throw UserError("parallel.schedule",
                  fmt::format("must be one of {}, found \"{}\".", fmt::join(schedule_names(), ", "), name));
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

Schedule make_schedule(std::string_view name, const ScheduleSize& size) {
  const auto require = [](int value, int most, std::string_view what) {
    if (value >= 1 && value <= most) return;
    throw UserError("pipeline", fmt::format("the number of {} must be 1 to {}, found {}.", what, most, value));
  };
  require(size.num_ranks, kMaxPipelineRanks, "pipeline ranks");
  require(size.num_microbatches, kMaxMicrobatches, "microbatches");
  const ScheduleKind& kind = schedule_kind(name);
  ScheduleSize full = size;
  if (full.virtual_stages == 0) full.virtual_stages = kind.usual_virtual_stages();
  if (!kind.can_have(full.virtual_stages)) {
    throw UserError("parallel.virtual_stages",
                    fmt::format("must be {} to {} with the schedule {}, found {}.", kind.least_virtual_stages,
                                kind.most_virtual_stages, name, full.virtual_stages));
  }
  const int64_t num_stages = int64_t{full.num_ranks} * full.virtual_stages;
  if (num_stages * full.num_microbatches > kMaxScheduleCells) {
    throw UserError("pipeline", fmt::format("stages times microbatches must be at most {}, found {} * {}. Take fewer "
                                            "microbatches.",
                                            kMaxScheduleCells, num_stages, full.num_microbatches));
  }
  return kind.make(full);
}

}  // namespace triptych::pipeline
