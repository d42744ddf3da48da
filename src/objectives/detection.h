#pragma once

#include <string>
#include <vector>

#include "objectives/objective.h"

namespace triptych::objectives {

struct DetectionConfig {
  double class_weight = 1;      ///< of the cross-entropy, and of the class's probability in a pair's cost
  double nothing_weight = 0.1;  ///< of a query that finds nothing, beside one that finds an object
  double l1_weight = 5;         ///< in the loss and in the cost
  double giou_weight = 2;       ///< in the loss and in the cost
  /// Fields of presence: an image that is not there has no objects, and its queries learn nothing.
  std::vector<std::string> needs = {};
  double weight = 1;  ///< in the run's loss
};

/// Carion et al. 2020, section 3.1: every object of an image is one query's to find, as `match_queries` pairs them;
/// the others are to find nothing. Split: over the objects of the global batch the mean of
///
///   class_weight * (cross-entropy of the object's class)
///   + l1_weight * |center and size less the true ones| + giou_weight * (1 - the generalised IoU),
///
/// and to that sum class_weight * nothing_weight * (cross-entropy of "nothing") of each query without an object. DETR
/// divides the class loss by its own sum of weights; this by the number of objects, as Zhu et al. 2021 (Deformable
/// DETR) do. A batch without any object has the loss 0.
///
/// Reads the slots "class_logits" [B, Q, C + 1] and "boxes" [B, Q, 4] (models/detector.h) and the fields "boxes"
/// float32 [B, N, 4], left, top, right, bottom, and "box_classes" int32 [B, N], negative beyond the objects of a
/// sample.
///
/// The pairs are found on the host, so each microbatch's loss waits until the device has come so far: what is queued
/// behind it, its backward first, starts a round trip later, some tens of microseconds on a GPU whose queue has run
/// dry, and Q * (C + 5) floats a sample are copied. The ranks of `tp`, which have the same numbers, match a share of
/// the samples each, and an all-gather of 3 * Q integers a sample tells all of it to all: they match alike.
ObjectiveSpec detection_objective(const DetectionConfig& config);

}  // namespace triptych::objectives
