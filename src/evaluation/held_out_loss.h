#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "evaluation/inference.h"
#include "objectives/objective.h"

namespace triptych::evaluation {

/// A run's loss on samples that it does not learn from.
struct HeldOutLoss {
  double loss = 0;                                    ///< the run's: that of each objective times its weight
  std::vector<std::pair<std::string, double>> parts;  ///< of each objective without its weight, by its name
};

/// The loss over a whole data set as training would measure it, but for what training does to learn: nothing is
/// augmented, dropped out or hidden, and of several captions a sample is shown with its first. Samples go once, in
/// order, in batches of `global_batch`, the last one shorter. The loss of each objective is the mean over all its terms
/// in the set; of a coupled one, which compares the samples of a batch, the mean over the batches, each counting with
/// its number of pairs. What no sample has terms for is left out. Nothing if that is all.
///
/// The same, but for rounding, on any mesh. Memory: a batch's forward in pieces of `options().batch` rows. Collective.
///   sources      of all fields that the model and the objectives read
///   objectives   of the executor, in its order
std::optional<HeldOutLoss> measure_loss(Inference& inference, const std::shared_ptr<const Dataset>& dataset,
                                        std::span<const FieldSource> sources, std::span<const ObjectiveSpec> objectives,
                                        int64_t global_batch);

}  // namespace triptych::evaluation
