#include "parallel/pipeline/schedules.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace triptych::pipeline {

namespace {

constexpr std::array kScheduleKinds{
    ScheduleKind{"gpipe", "all forwards, then all backwards, so that the activations of all microbatches are kept", 1,
                 1, gpipe},
    ScheduleKind{
        "1f1b",
        "a backward as soon as it can be, so that a stage keeps at most as many activations as there are "
        "stages (with a contrastive loss and several microbatches, here and below, at the price of one more forward)",
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

// With a coupled loss, of one microbatch: the forward that its backward needs gives the embeddings too.
Schedule make_of_one_microbatch(const ScheduleKind& kind, ScheduleSize size) {
  size.coupling = LossCoupling::kSplit;
  Schedule schedule = kind.make(size);
  schedule.coupling = LossCoupling::kCoupled;
  const int last = schedule.num_stages - 1;
  std::vector<Action>& actions =
      schedule.ranks[static_cast<std::size_t>(schedule.rank_of_stage[static_cast<std::size_t>(last)])];
  const auto forward = std::ranges::find_if(
      actions, [&](const Action& action) { return action.kind == Action::kForward && action.stage == last; });
  actions.insert(forward + 1, {.kind = Action::kLoss, .stage = last});
  return schedule;
}

}  // namespace

std::string ScheduleKind::refusal_of(int virtual_stages) const {
  const bool is_one = least_virtual_stages == most_virtual_stages;
  const std::string rule = is_one ? std::to_string(least_virtual_stages)
                                  : fmt::format("{} to {}", least_virtual_stages, most_virtual_stages);
  return fmt::format("must be {} with the schedule {}, found {}", rule, name, virtual_stages);
}

std::span<const ScheduleKind> schedule_kinds() {
  return kScheduleKinds;
}

const ScheduleKind& schedule_kind(std::string_view name) {
  const auto* found = std::ranges::find(kScheduleKinds, name, &ScheduleKind::name);
  if (found != kScheduleKinds.end()) return *found;
  const std::vector<std::string> names = schedule_names();
  const std::string near = nearest_word(std::string(name), names);
  throw UserError("parallel.schedule",
                  fmt::format("must be one of {}, or the path of a file, found \"{}\". {}", fmt::join(names, ", "),
                              name, near.empty() ? "Name one of them." : fmt::format("Did you mean \"{}\"?", near)));
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
                    fmt::format("{}. Leave it out, or use another schedule.", kind.refusal_of(full.virtual_stages)));
  }
  const int64_t num_stages = int64_t{full.num_ranks} * full.virtual_stages;
  if (num_stages * full.num_microbatches > kMaxScheduleCells) {
    throw UserError("pipeline", fmt::format("stages times microbatches must be at most {}, found {} * {}. Take fewer "
                                            "microbatches.",
                                            kMaxScheduleCells, num_stages, full.num_microbatches));
  }
  const bool is_one = full.num_microbatches == 1 && full.coupling == LossCoupling::kCoupled;
  return is_one ? make_of_one_microbatch(kind, full) : kind.make(full);
}

}  // namespace triptych::pipeline
