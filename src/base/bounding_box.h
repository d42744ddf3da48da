#pragma once

#include "base/rooms.h"

namespace triptych::base {

/// A rectangle with its sides along the axes, from its upper left corner to its lower right one, in any unit (pixels,
/// shares of an image): y grows downwards. Corners are points, so the box from 2 to 5 is 3 wide.
///
/// It is a *proper* box if x0 <= x1, y0 <= y1, and all four are numbers of at most 1e75 in magnitude, so that areas are
/// finite. What a model says may be no proper box; each function below says what it makes of that, and none throws.
struct BoundingBox {
  double x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  bool operator==(const BoundingBox&) const = default;
};

/// The same by its center and size, as detection transformers predict it (Carion et al. 2020).
struct CenterBox {
  double x = 0, y = 0, width = 0, height = 0;
  bool operator==(const CenterBox&) const = default;
};

/// A negative width or height gives a box that is not proper, and back.
BoundingBox to_corners(const CenterBox& box);
CenterBox to_center(const BoundingBox& box);

bool is_proper(const BoundingBox& box);

/// Width times height; 0 for what is no proper box.
double box_area(const BoundingBox& box);

/// The area that both cover: 0 if they only touch, or if either is no proper box.
double shared_area(const BoundingBox& a, const BoundingBox& b);

/// Intersection over union, 0 to 1 (Jaccard 1901); 0 where the union has no area, and where either is no proper box.
double box_iou(const BoundingBox& a, const BoundingBox& b);

/// Generalised intersection over union: the IoU less the share of the smallest box around both that neither covers,
/// -1 to 1; the farther apart, the nearer to -1. Rezatofighi et al. 2019 (Generalized Intersection over Union: A Metric
/// and A Loss for Bounding Box Regression, algorithm 1). 0 where the box around both has no area, which gives 0 / 0;
/// -1 where either is no proper box.
double generalized_iou(const BoundingBox& a, const BoundingBox& b);

}  // namespace triptych::base
