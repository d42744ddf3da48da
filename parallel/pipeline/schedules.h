#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/pipeline/schedule.h"

namespace triptych::pipeline {

/// A way to make a schedule of any size, under the name that configs and the command line give it.
struct ScheduleKind {
  std::string_view name;
  std::string_view description;  ///< a clause for help and documentation
  Schedule (*make)(int num_ranks, int num_microbatches, LossCoupling coupling);
};

/// Every kind there is. A new schedule is a file with its function, its declaration below and a line of this table.
std::span<const ScheduleKind> schedule_kinds();

std::vector<std::string> schedule_names();
/// "name: description; name: description".
std::string describe_schedules();

/// The most ranks and microbatches of a schedule: bounds what a mistyped number can allocate.
inline constexpr int kMaxPipelineRanks = 1024, kMaxMicrobatches = 65536;
inline constexpr int64_t kMaxScheduleCells = int64_t{1} << 20;  ///< num_ranks * num_microbatches

/// The schedule of one step, of the kind of that name.
///
/// Throws UserError if there is no such kind (it lists those there are), no rank or no microbatch, or the limits above
/// are passed.
Schedule make_schedule(std::string_view name, int num_ranks, int num_microbatches, LossCoupling coupling);

// The generators, one file each; sizes are at least 1. p ranks, m microbatches, equal costs and f forward, b backward:

/// All forwards, then all backwards; a stage a rank. Bubble (p-1)/(m+p-1); every stage keeps m activations. With a
/// coupled loss the same, kLoss between the two on the last stage.
/// Source: Huang et al. 2019, GPipe.
Schedule gpipe(int num_ranks, int num_microbatches, LossCoupling coupling);

/// One backward as soon as it can be; a stage a rank. Bubble (p-1)/(m+p-1); stage s keeps min(m, p-s) activations. With
/// a coupled loss kEmbed of all microbatches and kLoss come first: keeps as many, at the price of a second forward. The
/// forwards of the first backwards start while the loss is still pending.
/// Sources: Narayanan et al. 2021, Efficient large-scale language model training on GPU clusters, section 2.2.1; the
/// embedding pass is Gao et al. 2021, Scaling deep contrastive learning batch size under memory limited setup.
Schedule one_f_one_b(int num_ranks, int num_microbatches, LossCoupling coupling);

}  // namespace triptych::pipeline
