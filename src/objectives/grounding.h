#pragma once

#include <string>
#include <vector>

#include "objectives/objective.h"

namespace triptych::objectives {

/// How far the one box of a sample is from where its phrase's object is, split: over the phrases of the global batch
/// the mean of l1_weight * |center and size less the true ones| + giou_weight * (1 - the generalised IoU). The box
/// losses of Carion et al. 2020, as in `detection_objective`.
///
/// Reads the slot "box" [B, 4] (models/grounder.h) and the fields "phrase_box" float32 [B, 4], left, top, right,
/// bottom, and "phrase_box_present" uint8 [B].
struct GroundingConfig {
  double l1_weight = 5;
  double giou_weight = 2;
  /// Fields of presence beside "phrase_box_present": a sample that lacks one gives no term.
  std::vector<std::string> needs = {};
  double weight = 1;  ///< in the run's loss
};
ObjectiveSpec grounding_objective(const GroundingConfig& config);

}  // namespace triptych::objectives
