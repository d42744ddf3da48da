#pragma once

#include <optional>
#include <string>
#include <vector>

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

/// What one rank finds alone: loss and gradients of a step with the whole batch, one microbatch, no recomputation.
struct VerifyReference {
  struct Gradient {
    std::string name;
    Shape shape;
    std::vector<float> values;
    std::optional<double> magnitude;  ///< of a scalar: the sum of its terms' magnitudes
  };
  double loss = 0;
  std::vector<Gradient> gradients;  ///< of what the first step trains, in the model's order
};

/// Of the config's model, whatever its mesh: one reference does for every [parallel]. Local.
VerifyReference verify_reference(const RunConfig& config, const RankPlace& place);

/// One step of the config's model, with what the first step trains, on its mesh against the same step on one rank:
/// loss and gradient of every parameter. Data are synthetic; dropout is as configured; the B of adapters begins away
/// from zero, since else A had no gradient. A scalar's gradient (a scale, a bias) is compared with the sum of its
/// terms' magnitudes, since these cancel. Collective; every rank gets the same result.
///
/// On the mesh it is the second of two passes of forward and backward with the same weights: from then on gradients are
/// reduced while backward still runs. The one rank runs its step alone.
///
///   world      of as many ranks as the config's mesh has
///   reference  of a config that differs in [parallel] alone
VerifyResult verify(const RunConfig& config, Group& world, const RankPlace& place, const VerifyReference& reference);

/// The same, where every rank finds the reference for itself.
VerifyResult verify(const RunConfig& config, Group& world, const RankPlace& place);

}  // namespace triptych::training
