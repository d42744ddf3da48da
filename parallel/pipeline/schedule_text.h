#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "parallel/pipeline/schedule.h"

namespace triptych::pipeline {

/// A schedule's computations as text, a line a rank: `F0@0 F1@0 B0@0 B1@0`, with the stages left out where stage s is
/// rank s's alone. Ends with a newline.
std::string to_text(const Schedule& schedule);

/// `to_text` turned round, for schedules that somebody wrote: words as to_string(Action) says them, without sends and
/// receives, which follow from who owns which stage. A line a rank; what follows `#` is a comment, and empty lines are
/// left out. The stages are those that are named, and the microbatches too.
///
///   where     what errors name: the file
///   coupling  of the run's loss; without it that of the schedule, which is coupled if it has an L
///
/// Throws UserError naming the line for a word that is none or a number out of bounds, for stages that are left out or
/// are two ranks'; or with what simulate() finds wrong with it, so that what comes back can be carried out.
Schedule parse_schedule(std::string_view text, const std::string& where, std::optional<LossCoupling> coupling);

/// Whether a schedule that somebody asks for is such a file, rather than the name of a kind.
inline bool is_schedule_file(std::string_view schedule) {
  return schedule.find_first_of("/.") != std::string_view::npos;
}

/// The most bytes of such a file.
inline constexpr int64_t kMaxScheduleBytes = 64 << 20;

}  // namespace triptych::pipeline
