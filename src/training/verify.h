#pragma once

#include <string>

#include "parallel/world.h"
#include "training/session.h"

namespace triptych::training {

struct VerifyResult {
  double loss = 0, reference_loss = 0;
  double loss_error = 0;       ///< |loss - reference| / |reference|
  int64_t num_parameters = 0;  ///< tensors compared: the trained ones
  std::string worst_parameter;
  double worst_error = 0;  ///< 2-norm of the difference over the 2-norm of the reference; scalars as in `verify`
};

/// One step of the config's model, with what the first step trains, on its mesh against the same step on one rank with
/// the whole batch, one microbatch, no recomputation, in the same process: loss and gradient of every parameter. Data
/// are synthetic; dropout is as configured; the B of adapters begins away from zero, since else A had no gradient. A
/// scalar's gradient (a scale, a bias) is compared with the sum of its terms' magnitudes, since these cancel.
/// Collective; every rank gets the same result.
///
/// On the mesh it is the second of two passes of forward and backward with the same weights: from then on gradients are
/// reduced while backward still runs. The one rank runs its step alone.
VerifyResult verify(const RunConfig& config, Group& world, const RankPlace& place);

}  // namespace triptych::training
