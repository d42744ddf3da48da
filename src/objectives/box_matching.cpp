#include "objectives/box_matching.h"

#include <algorithm>
#include <cmath>

#include "base/assignment.h"
#include "base/bounding_box.h"
#include "base/error.h"

namespace triptych::objectives {
namespace {

// The probabilities of a row of logits.
std::vector<double> softmax_of(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> result;
  double sum = 0;
  for (const float x : logits) sum += result.emplace_back(std::exp(x - largest));
  for (double& p : result) p /= sum;
  return result;
}

double pair_cost(const CenterBox& box, const BoundingBox& truth, double probability, const MatchingWeights& weights) {
  const CenterBox center = to_center(truth);
  const double l1 = std::abs(box.x - center.x) + std::abs(box.y - center.y) + std::abs(box.width - center.width) +
                    std::abs(box.height - center.height);
  return weights.l1 * l1 - weights.classes * probability - weights.giou * generalized_iou(to_corners(box), truth);
}

}  // namespace

std::vector<int32_t> match_queries(const QueriesAndObjects& image, const MatchingWeights& weights) {
  const std::size_t num_queries = image.boxes.size() / 4;
  TRIPTYCH_CHECK(num_queries > 0 && image.boxes.size() == 4 * num_queries && image.logits.size() % num_queries == 0 &&
                     image.truths.size() == 4 * image.labels.size(),
                 "matching of {} logits, {} coordinates, {} true ones, {} labels", image.logits.size(),
                 image.boxes.size(), image.truths.size(), image.labels.size());
  std::vector<int32_t> objects;  // those that are there
  for (std::size_t i = 0; i < image.labels.size(); ++i) {
    if (image.labels[i] >= 0) objects.push_back(static_cast<int32_t>(i));
  }
  std::vector<int32_t> matches(num_queries, -1);
  if (objects.empty()) return matches;
  const std::size_t num_outputs = image.logits.size() / num_queries;
  std::vector<double> costs(objects.size() * num_queries);
  for (std::size_t q = 0; q < num_queries; ++q) {
    const std::vector<double> probabilities = softmax_of(image.logits.subspan(q * num_outputs, num_outputs));
    const std::span<const float> b = image.boxes.subspan(4 * q, 4);
    for (std::size_t k = 0; k < objects.size(); ++k) {
      const auto object = static_cast<std::size_t>(objects[k]), label = static_cast<std::size_t>(image.labels[object]);
      TRIPTYCH_CHECK(label + 1 < num_outputs, "an object of class {}, of {} classes", label, num_outputs - 1);
      const std::span<const float> t = image.truths.subspan(4 * object, 4);
      costs[k * num_queries + q] =
          pair_cost({b[0], b[1], b[2], b[3]}, {t[0], t[1], t[2], t[3]}, probabilities[label], weights);
    }
  }
  const std::vector<int64_t> queries =
      assign_least_cost(costs, static_cast<int64_t>(objects.size()), static_cast<int64_t>(num_queries));
  for (std::size_t k = 0; k < objects.size(); ++k) {
    if (queries[k] >= 0) matches[static_cast<std::size_t>(queries[k])] = objects[k];
  }
  return matches;
}

}  // namespace triptych::objectives
