#pragma once

#include <algorithm>

#include "kernels/optimizer.h"

namespace triptych::kernels {

/// Of an infinity and of NaN the difference is NaN.
constexpr bool is_finite(double x) {
  return x - x == 0.0;
}

/// What `decide_update` makes of the state: one rule for both backends (constexpr is compiled for the device as well).
///   norm   of the gradients without the loss scale
constexpr UpdateState decided_update(UpdateState state, double loss, double norm, const DecideUpdateArgs& args) {
  const double clip = args.clip_norm > 0.0 && norm > args.clip_norm ? args.clip_norm / norm : 1.0;
  state.gradient_factor = static_cast<float>(clip / static_cast<double>(state.loss_scale));
  state.apply = is_finite(loss) && is_finite(norm) ? 1 : 0;
  if (state.apply != 0) {
    ++state.num_updates;
    ++state.num_good;
  } else {
    ++state.num_skipped;
  }
  if (args.growth_interval <= 0) return state;
  if (!is_finite(norm)) {
    state.loss_scale = std::max(state.loss_scale * 0.5f, args.min_loss_scale);
    state.num_good = 0;
  } else if (state.num_good >= args.growth_interval) {
    state.loss_scale = std::min(state.loss_scale * 2.0f, args.max_loss_scale);
    state.num_good = 0;
  }
  return state;
}

}  // namespace triptych::kernels
