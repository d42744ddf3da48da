#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/rooms.h"

namespace triptych::optim {

/// How the learning rate goes on from its peak. With s the finished steps, w warmup_steps, n total_steps, d decay_steps
/// and f final_share, an update's rate is the peak times
///
///   s < w          (s + 1) / w, of every schedule; else
///   kCosine        f + (1 - f) * (1 + cos(pi * t)) / 2     with t = (s - w) / (n - w)
///   kLinear        f + (1 - f) * (1 - t)                   with the same t
///   kConstant      1
///   kWsd           1 while s < n - d, then f + (1 - f) * (1 - u)     with u = (s - (n - d)) / d
///
/// where t and u end at 1. A run of kConstant, or one of kWsd before it decays, knows nothing of its end: it can be
/// gone on with for more steps, and decay then. Sources: Loshchilov and Hutter 2017, SGDR (cosine); Goyal et al. 2017,
/// section 2.2 (warm-up); Hu et al. 2024, MiniCPM, section 4 (warm-up, stable, decay), with the linear decay of Hägele
/// et al. 2024, section 3.
enum class LearningRateSchedule { kCosine, kLinear, kConstant, kWsd };

/// As a config names them, in the order of the enumeration.
inline constexpr std::array<std::string_view, 4> kLearningRateSchedules{"cosine", "linear", "constant", "wsd"};

struct LearningRateOptions {
  LearningRateSchedule schedule = LearningRateSchedule::kCosine;
  double peak = 1e-3;
  double final_share = 0.0;  ///< of the peak, at the last step; nothing to kConstant
  int64_t warmup_steps = 0;
  int64_t decay_steps = 0;  ///< of kWsd: the last so many steps; 0: it is as kConstant
  int64_t total_steps = 1;
};

/// Of the update that follows `step` finished ones.
double learning_rate(const LearningRateOptions& options, int64_t step);

}  // namespace triptych::optim
