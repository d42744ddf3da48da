#include "evaluation/detection_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace triptych::evaluation {
namespace {

constexpr std::size_t kNumThresholds = DetectionCounter::kNumThresholds;
constexpr std::size_t kNumRecalls = 101;

// The very doubles that numpy's linspace gives pycocotools, since IoUs and recalls fall on them.
constexpr auto kThresholds = [] {
  std::array<double, kNumThresholds> thresholds{};
  for (std::size_t i = 0; i < kNumThresholds; ++i) thresholds[i] = static_cast<double>(i) * ((0.95 - 0.5) / 9) + 0.5;
  thresholds.back() = 0.95;
  return thresholds;
}();
constexpr auto kRecalls = [] {
  std::array<double, kNumRecalls> recalls{};
  for (std::size_t i = 0; i < kNumRecalls; ++i) recalls[i] = static_cast<double>(i) * 0.01;
  recalls.back() = 1;
  return recalls;
}();

struct Range {
  double least, most;
  bool has(double area) const { return area >= least && area <= most; }
};
constexpr std::array<Range, DetectionCounter::kNumSizes> kRanges = {
    {{0, 1e10}, {0, 32 * 32}, {32 * 32, 96 * 96}, {96 * 96, 1e10}}};

// The indices 0, 1, ..., ascending by the key of each, and where keys are equal by themselves.
template <typename Key>
std::vector<std::size_t> sorted_indices(std::size_t count, Key key) {
  std::vector<std::size_t> indices(count);
  std::iota(indices.begin(), indices.end(), std::size_t{0});
  std::stable_sort(indices.begin(), indices.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
  return indices;
}

// [detections, objects]
std::vector<double> overlaps(std::span<const Detection> detections, std::span<const TrueObject> objects) {
  std::vector<double> ious;
  ious.reserve(detections.size() * objects.size());
  for (const Detection& detection : detections) {
    const double area = box_area(detection.box);
    for (const TrueObject& object : objects) {
      if (std::isnan(detection.score)) {
        ious.push_back(0);
      } else if (object.is_crowd) {
        const double shared = shared_area(detection.box, object.box);
        ious.push_back(shared > 0 ? shared / area : 0);
      } else {
        ious.push_back(box_iou(detection.box, object.box));
      }
    }
  }
  return ious;
}

// Which object each detection takes, or -1; `ious` [detections, objects], detections by descending score, and those
// objects that are ignored behind the others.
void take_objects(std::span<const double> ious, std::span<const TrueObject> objects,
                  const std::vector<bool>& is_ignored, double threshold, std::span<int64_t> taken_by) {
  constexpr double kAlmostOne = 1 - 1e-10;  // for boxes that are the same but for rounding, at a threshold of 1
  std::vector<bool> is_taken(objects.size());
  for (std::size_t d = 0; d < taken_by.size(); ++d) {
    double best = std::min(threshold, kAlmostOne);
    int64_t chosen = -1;
    for (std::size_t g = 0; g < objects.size(); ++g) {
      if (is_taken[g] && !objects[g].is_crowd) continue;
      if (chosen >= 0 && is_ignored[g] && !is_ignored[static_cast<std::size_t>(chosen)]) break;
      const double iou = ious[d * objects.size() + g];
      if (iou < best) continue;
      best = iou;
      chosen = static_cast<int64_t>(g);
    }
    taken_by[d] = chosen;
    if (chosen >= 0) is_taken[static_cast<std::size_t>(chosen)] = true;
  }
}

}  // namespace

DetectionCounter::DetectionCounter(int64_t num_classes) {
  TRIPTYCH_CHECK(num_classes >= 1, "{} classes", num_classes);
  classes_.resize(static_cast<std::size_t>(num_classes));
}

const DetectionCounter::Class& DetectionCounter::of_class(int64_t label) const {
  TRIPTYCH_CHECK(label >= 0 && label < std::ssize(classes_), "class {}, of {}", label, classes_.size());
  return classes_[static_cast<std::size_t>(label)];
}

int64_t DetectionCounter::num_objects(int64_t label) const {
  return of_class(label).num_objects[0];
}

void DetectionCounter::add(std::span<const Detection> detections, std::span<const TrueObject> objects) {
  std::map<int64_t, std::pair<std::vector<Detection>, std::vector<TrueObject>>> by_label;
  for (const Detection& detection : detections) {
    of_class(detection.label);
    by_label[detection.label].first.push_back(detection);
  }
  for (const TrueObject& object : objects) {
    of_class(object.label);
    TRIPTYCH_CHECK(is_proper(object.box), "an object's box has corners ({}, {}) and ({}, {})", object.box.x0,
                   object.box.y0, object.box.x1, object.box.y1);
    by_label[object.label].second.push_back(object);
  }
  for (const auto& [label, both] : by_label) {
    match(both.first, both.second, classes_[static_cast<std::size_t>(label)]);
  }
  ++num_images_;
}

void DetectionCounter::match(std::span<const Detection> detections, std::span<const TrueObject> objects, Class& found) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto score = [&](std::size_t d) { return std::isnan(detections[d].score) ? kInfinity : detections[d].score; };
  std::vector<std::size_t> by_score = sorted_indices(detections.size(), [&](std::size_t d) { return -score(d); });
  by_score.resize(std::min(by_score.size(), kMaxDetections));
  std::vector<Detection> best;
  std::vector<Outcome> outcomes;
  for (const std::size_t d : by_score) {
    best.push_back(detections[d]);
    outcomes.push_back({.score = score(d)});
  }

  std::vector<int64_t> taken_by(best.size());
  for (std::size_t s = 0; s < kNumSizes; ++s) {
    const auto ignores = [&](std::size_t g) {
      return objects[g].is_crowd || !kRanges[s].has(box_area(objects[g].box));
    };
    std::vector<TrueObject> ordered;
    std::vector<bool> is_ignored;
    for (const std::size_t g : sorted_indices(objects.size(), ignores)) {
      ordered.push_back(objects[g]);
      is_ignored.push_back(ignores(g));
    }
    found.num_objects[s] += std::count(is_ignored.begin(), is_ignored.end(), false);
    const std::vector<double> ious = overlaps(best, ordered);
    for (std::size_t t = 0; t < kNumThresholds; ++t) {
      take_objects(ious, ordered, is_ignored, kThresholds[t], taken_by);
      for (std::size_t d = 0; d < best.size(); ++d) {
        const int64_t taken = taken_by[d];
        const bool counts =
            taken >= 0 ? !is_ignored[static_cast<std::size_t>(taken)] : kRanges[s].has(box_area(best[d].box));
        const auto bit = static_cast<uint16_t>(1u << t);
        if (!counts) {
          outcomes[d].uncounted[s] |= bit;
        } else if (taken >= 0) {
          outcomes[d].right[s] |= bit;
        }
      }
    }
  }
  found.outcomes.insert(found.outcomes.end(), outcomes.begin(), outcomes.end());
}

DetectionCounter::Curve DetectionCounter::curve(const Class& found, ObjectSize size) {
  const auto s = static_cast<std::size_t>(size);
  const auto num_objects = static_cast<double>(found.num_objects[s]);
  const std::vector<std::size_t> by_score =
      sorted_indices(found.outcomes.size(), [&](std::size_t i) { return -found.outcomes[i].score; });
  Curve curve;
  std::vector<double> precision, recall;  // behind each detection that counts
  for (std::size_t t = 0; t < kNumThresholds; ++t) {
    precision.clear();
    recall.clear();
    double num_right = 0, num_counted = 0;
    for (const std::size_t i : by_score) {
      if (found.outcomes[i].uncounted[s] >> t & 1) continue;
      num_right += found.outcomes[i].right[s] >> t & 1;
      ++num_counted;
      precision.push_back(num_right / num_counted);
      recall.push_back(num_right / num_objects);
    }
    for (std::size_t i = precision.size(); i > 1; --i) precision[i - 2] = std::max(precision[i - 2], precision[i - 1]);
    double sum = 0;
    std::size_t reached = 0;
    for (const double wanted : kRecalls) {
      while (reached < recall.size() && recall[reached] < wanted) ++reached;
      if (reached < recall.size()) sum += precision[reached];
    }
    curve.average_precision[t] = sum / static_cast<double>(kRecalls.size());
    curve.recall[t] = recall.empty() ? 0 : recall.back();
  }
  return curve;
}

DetectionScores DetectionCounter::mean_scores(std::span<const Class> classes, ObjectSize size) {
  Curve sum;
  int64_t num_counted = 0;
  for (const Class& each : classes) {
    if (each.num_objects[static_cast<std::size_t>(size)] == 0) continue;
    const Curve own = curve(each, size);
    for (std::size_t t = 0; t < kNumThresholds; ++t) {
      sum.average_precision[t] += own.average_precision[t];
      sum.recall[t] += own.recall[t];
    }
    ++num_counted;
  }
  if (num_counted == 0) return {};
  const auto count = static_cast<double>(num_counted);
  const auto mean = [&](const std::array<double, kNumThresholds>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / (count * static_cast<double>(values.size()));
  };
  return {mean(sum.average_precision), sum.average_precision[0] / count, sum.average_precision[5] / count,
          mean(sum.recall)};
}

DetectionScores DetectionCounter::scores(ObjectSize size) const {
  return mean_scores(classes_, size);
}

DetectionScores DetectionCounter::class_scores(int64_t label, ObjectSize size) const {
  return mean_scores(std::span(&of_class(label), 1), size);
}

}  // namespace triptych::evaluation
