#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/pipeline/schedule.h"

namespace triptych::pipeline {

/// What a schedule is made for.
struct ScheduleSize {
  int num_ranks = 1;
  int virtual_stages = 1;  ///< stages a rank
  int num_microbatches = 1;
  LossCoupling coupling = LossCoupling::kSplit;
};

/// A way to make a schedule of any size, under the name that configs and the command line give it.
struct ScheduleKind {
  std::string_view name;
  std::string_view description;                   ///< a clause for help and documentation
  int least_virtual_stages, most_virtual_stages;  ///< that a rank can have
  Schedule (*make)(const ScheduleSize& size);     ///< see the generators below

  /// How many stages a rank has where nobody says it: 2 if there can be several, else 1.
  int usual_virtual_stages() const { return std::clamp(2, least_virtual_stages, most_virtual_stages); }
  bool can_have(int virtual_stages) const {
    return virtual_stages >= least_virtual_stages && virtual_stages <= most_virtual_stages;
  }
  /// The rule that a number it cannot have breaks: "must be 1 with the schedule gpipe, found 2".
  std::string refusal_of(int virtual_stages) const;
};

/// Every kind there is. A new schedule is a file with its function, its declaration below and a line of this table.
std::span<const ScheduleKind> schedule_kinds();

/// Throws UserError if there is no such kind; it lists those there are.
const ScheduleKind& schedule_kind(std::string_view name);

std::vector<std::string> schedule_names();
/// "name: description; name: description".
std::string describe_schedules();

/// The most ranks, stages a rank and microbatches of a schedule: bounds what a mistyped number can allocate.
inline constexpr int kMaxPipelineRanks = 1024, kMaxVirtualStages = 64, kMaxMicrobatches = 65536;
inline constexpr int64_t kMaxScheduleCells = int64_t{1} << 20;  ///< num_ranks * virtual_stages * num_microbatches

/// The schedule of one step, of the kind of that name; 0 virtual stages stand for the usual number.
///
/// Throws UserError if there is no such kind, if it cannot have so many stages a rank, if there is no rank or no
/// microbatch, or if the limits above are passed.
Schedule make_schedule(std::string_view name, const ScheduleSize& size);

// The generators, one file each; sizes are at least 1. p ranks, v stages a rank, m microbatches; F, D and W are a whole
// rank's time for a microbatch's forward, the input half and the weight half of its backward, B = D + W. The bubble is
// idle time over all time, or the time that a step takes beyond m(F+B), where that is said. The activations that a
// rank keeps are counted in stages of a v-th of its blocks.
//
// With a coupled loss all but gpipe begin with kEmbed of all microbatches and kLoss, at the price of a second forward,
// m F; the forwards of the first backwards start while the loss is still pending. The embedding pass is Gao et al.
// 2021, Scaling deep contrastive learning batch size under memory limited setup. make_schedule leaves it out of one
// microbatch, whose one forward gives all embeddings.

/// All forwards, then all backwards; a stage a rank. Bubble (p-1)/(m+p-1); every stage keeps m activations. With a
/// coupled loss the same, kLoss between the two on the last stage.
/// Source: Huang et al. 2019, GPipe.
Schedule gpipe(const ScheduleSize& size);

/// One backward as soon as it can be; a stage a rank. Bubble (p-1)/(m+p-1); stage s keeps min(m, p-s) activations.
/// Source: Narayanan et al. 2021, Efficient large-scale language model training on GPU clusters, section 2.2.1.
Schedule one_f_one_b(const ScheduleSize& size);

/// 1F1B over v stages a rank, where stage s is rank s % p's: microbatches go round in groups of g, p or a few more (as
/// many as there are, if fewer). The step takes (p-1)(F+B)/v beyond m(F+B), if m is at least p; rank r keeps
/// min(v m, (v-1)g + 2(p-1-r) + 1) activations. Each microbatch crosses v times as many links.
/// Source: Narayanan et al. 2021, section 2.2.2, where p divides m and g is p.
Schedule interleaved(const ScheduleSize& size);

/// 1F1B with backwards in halves, where stage s does the weight half s backwards later than it could: so the time that
/// others wait for a gradient holds no weight half, and the weight halves fill the end. A stage a rank. The step takes
/// (p-1)(F+D-W) beyond m(F+B); a stage keeps at most min(m, p) activations.
/// Source: Qi et al. 2023, Zero bubble pipeline parallelism, section 3.
Schedule zb_h1(const ScheduleSize& size);

/// Two stages a rank that lie as a V: the first p from rank 0 to p-1, the last p back, so that the rank of the first
/// stage has the loss as well; backwards in halves. If F = D = W and m >= 2p no rank waits between its first action and
/// its last; a rank keeps at most 2p activations, which is what 1F1B's first stage keeps.
/// Source: Qi et al. 2024, Pipeline parallelism with controllable memory, section 4 (V-min to V-ZB).
Schedule zb_v(const ScheduleSize& size);

}  // namespace triptych::pipeline
