#pragma once

#include "objectives/objective.h"

namespace triptych::objectives {

/// A softmax cross-entropy of scores against a field of targets, split: the mean over the targets of the global batch
/// that are not negative, and whose samples have what it needs.
struct CrossEntropyConfig {
  std::string name;   ///< of the objective
  std::string slot;   ///< [B, ..., V]; an axis may shard the classes
  std::string field;  ///< int32 [B, ...], negative where there is no target
  /// Fields of presence ("image_present"), uint8 [B]: the targets of a sample where one is 0 are not learned from.
  std::vector<std::string> needs = {};
  double label_smoothing = 0;  ///< share of a target that is spread over all classes (Szegedy et al. 2016), below 1
  double weight = 1;           ///< in the run's loss
};
ObjectiveSpec cross_entropy_objective(const CrossEntropyConfig& config);

}  // namespace triptych::objectives
