#include "optim/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace triptych::optim {
namespace {

// How much of `length` steps from `begin` on is over, at most all of it.
double progress(int64_t step, int64_t begin, int64_t length) {
  return std::min(1.0, static_cast<double>(step - begin) / static_cast<double>(std::max<int64_t>(1, length)));
}

}  // namespace

double learning_rate(const LearningRateOptions& options, int64_t step) {
  const int64_t warmup = options.warmup_steps, decay_begin = options.total_steps - options.decay_steps;
  if (step < warmup) return options.peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const auto between = [&](double share) {
    return options.peak * (options.final_share + (1 - options.final_share) * share);
  };
  const double along = progress(step, warmup, options.total_steps - warmup);
  switch (options.schedule) {
    case LearningRateSchedule::kCosine:
      return between(0.5 * (1 + std::cos(std::numbers::pi * along)));
    case LearningRateSchedule::kLinear:
      return between(1 - along);
    case LearningRateSchedule::kConstant:
      return options.peak;
    case LearningRateSchedule::kWsd:
      if (options.decay_steps == 0 || step < decay_begin) return options.peak;
      return between(1 - progress(step, decay_begin, options.decay_steps));
  }
  return options.peak;
}

}  // namespace triptych::optim
