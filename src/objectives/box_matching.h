#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rooms.h"

namespace triptych::objectives {

/// What an image's queries say, and what is in it. Host memory.
struct QueriesAndObjects {
  std::span<const float> logits;    ///< [queries, classes + 1], the last class "nothing"
  std::span<const float> boxes;     ///< [queries, 4]: center x, center y, width, height
  std::span<const float> truths;    ///< [objects, 4]: left, top, right, bottom
  std::span<const int32_t> labels;  ///< [objects], negative where there is no object
};

/// What the parts of a pair's cost count. DETR's values.
struct MatchingWeights {
  double classes = 1;  ///< of minus the probability of the object's class
  double l1 = 5;       ///< of the sum of the four absolute differences of center and size
  double giou = 2;     ///< of minus the generalised IoU
};

/// Which object each query is to find: one to one, so that the sum of the pairs' costs is least. Carion et al. 2020,
/// equations 1 and 2. Returns for each query the object's number, or -1: where there are more objects than queries,
/// some are nobody's.
///
/// A function of the numbers alone, in double. A query that says no number, or no proper box, still gets something.
/// Cost: queries x (classes + objects) exponentials and the assignment's min(queries, objects)^2 x max: tens of
/// microseconds for 20 queries and 5 objects.
std::vector<int32_t> match_queries(const QueriesAndObjects& image, const MatchingWeights& weights);

}  // namespace triptych::objectives
