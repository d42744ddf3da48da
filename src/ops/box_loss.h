#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// What the parts of a box's loss count.
struct BoxLossWeights {
  double l1 = 5;    ///< the sum of the four absolute differences of center and size
  double giou = 2;  ///< 1 - the generalised IoU
};

/// How far boxes are from where they should be, summed over those that should be somewhere.
///
///   boxes [..., 4]    float32, complete: center x, center y, width, height, sizes not negative
///   truths [..., 4]   float32, of this rank's rows: left, top, right, bottom in the same unit
///   present [...]     int32, likewise; negative for a row that has no truth and counts for nothing
///   returns           float64 [1] on the device: Partial on the axes that shard rows, else Replicate
///
/// Backward: keeps the gradient of every box, which the forward pass has made. Local: never communicates.
/// Throws LayoutError by the rule "...c!->". Source: Carion et al. 2020, section 3.1; Rezatofighi et al. 2019.
Variable box_loss(const Variable& boxes, const Tensor& truths, const Tensor& present, const BoxLossWeights& weights);

}  // namespace triptych::ops
