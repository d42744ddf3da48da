#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "base/rooms.h"

namespace triptych::optim {

struct LearningRateOptions {
  double peak = 1e-3;
  double final_share = 0.0;  ///< of the peak, at the last step
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;
};

/// Of the update that follows `step` finished ones: linear warm-up, then half a cosine down to final_share * peak.
inline double learning_rate(const LearningRateOptions& options, int64_t step) {
  if (step < options.warmup_steps) {
    return options.peak * static_cast<double>(step + 1) / static_cast<double>(options.warmup_steps);
  }
  const auto rest = static_cast<double>(std::max<int64_t>(1, options.total_steps - options.warmup_steps));
  const double progress = std::min(1.0, static_cast<double>(step - options.warmup_steps) / rest);
  const double cosine = 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return options.peak * (options.final_share + (1 - options.final_share) * cosine);
}

}  // namespace triptych::optim
