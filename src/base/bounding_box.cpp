#include "base/bounding_box.h"

#include <algorithm>
#include <cmath>

namespace triptych::base {
namespace {

constexpr double kFarthest = 1e75;

}  // namespace

BoundingBox to_corners(const CenterBox& box) {
  return {box.x - box.width / 2, box.y - box.height / 2, box.x + box.width / 2, box.y + box.height / 2};
}

CenterBox to_center(const BoundingBox& box) {
  return {(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, box.x1 - box.x0, box.y1 - box.y0};
}

bool is_proper(const BoundingBox& box) {
  // A comparison with a NaN is false.
  return box.x0 <= box.x1 && box.y0 <= box.y1 && box.x0 >= -kFarthest && box.y0 >= -kFarthest && box.x1 <= kFarthest &&
         box.y1 <= kFarthest;
}

double box_area(const BoundingBox& box) {
  return is_proper(box) ? (box.x1 - box.x0) * (box.y1 - box.y0) : 0;
}

double shared_area(const BoundingBox& a, const BoundingBox& b) {
  if (!is_proper(a) || !is_proper(b)) return 0;
  const double width = std::min(a.x1, b.x1) - std::max(a.x0, b.x0);
  const double height = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
  return width > 0 && height > 0 ? width * height : 0;
}

double box_iou(const BoundingBox& a, const BoundingBox& b) {
  const double shared = shared_area(a, b);
  return shared > 0 ? shared / (box_area(a) + box_area(b) - shared) : 0;
}

double generalized_iou(const BoundingBox& a, const BoundingBox& b) {
  if (!is_proper(a) || !is_proper(b)) return -1;
  const double around = (std::max(a.x1, b.x1) - std::min(a.x0, b.x0)) * (std::max(a.y1, b.y1) - std::min(a.y0, b.y0));
  if (!(around > 0)) return 0;
  const double covered = box_area(a) + box_area(b) - shared_area(a, b);
  return box_iou(a, b) - (around - covered) / around;
}

}  // namespace triptych::base
