#pragma once

#include <cstdint>

#include "device/stream.h"

namespace triptych::kernels {

struct BoxLossArgs {
  const float* boxes = nullptr;      ///< [rows, 4]: center x, center y, width, height; sizes not negative
  const float* truths = nullptr;     ///< [rows, 4]: left, top, right, bottom, in the same unit
  const int32_t* present = nullptr;  ///< [rows]: negative where a row has no truth, and then counts for nothing
  int64_t rows = 0;
  double l1 = 1;               ///< weight of the sum of the four absolute differences of center and size
  double giou = 1;             ///< weight of 1 - the generalised IoU
  double* loss = nullptr;      ///< [1], added to: the sum of the rows' losses
  float* gradients = nullptr;  ///< [rows, 4], assigned: of each row's loss by its box; zeros without a truth
};

/// How far boxes are from where they should be: Carion et al. 2020, equation 4 (DETR), with the generalised IoU of
/// Rezatofighi et al. 2019. The loss and its gradient in one pass, in double, since rows are few; summed in an order
/// that the number of rows alone decides.
///
/// Where a side lies on the truth's, or a difference is 0, its part of the gradient is 0. Where boxes have no area, the
/// terms that would divide by it are 0.
void box_loss(Stream& stream, const BoxLossArgs& args);

}  // namespace triptych::kernels
