#include "evaluation/classification_metrics.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace triptych::evaluation {

ClassificationCounter::ClassificationCounter(int64_t num_classes)
    : num_classes_(num_classes), num_at_rank_(static_cast<std::size_t>(kMaxTopK), 0) {
  TRIPTYCH_CHECK(num_classes >= 1, "{} classes", num_classes);
}

void ClassificationCounter::add(std::span<const float> scores, int64_t label) {
  TRIPTYCH_CHECK(static_cast<int64_t>(scores.size()) == num_classes_ && label >= 0 && label < num_classes_,
                 "{} scores and class {}, of {} classes", scores.size(), label, num_classes_);
  const float own = scores[static_cast<std::size_t>(label)];
  int64_t before = 0, predicted = label;
  for (int64_t c = 0; c < num_classes_; ++c) {
    const float score = scores[static_cast<std::size_t>(c)];
    if (c == label || score < own) continue;
    ++before;
    // The first of the best; a NaN is better than any number.
    const float best = scores[static_cast<std::size_t>(predicted)];
    if (predicted == label || (!std::isnan(best) && !(score <= best))) predicted = c;
  }
  if (before < kMaxTopK) ++num_at_rank_[static_cast<std::size_t>(before)];
  ++counts_[{label, predicted}];
  ++num_samples_;
}

double ClassificationCounter::top_k_accuracy(int64_t k) const {
  TRIPTYCH_CHECK(k >= 1 && k <= kMaxTopK, "top {}, of at most {}", k, kMaxTopK);
  int64_t found = 0;
  for (int64_t rank = 0; rank < k; ++rank) found += num_at_rank_[static_cast<std::size_t>(rank)];
  return num_samples_ == 0 ? 0 : static_cast<double>(found) / static_cast<double>(num_samples_);
}

double ClassificationCounter::macro_recall() const {
  std::map<int64_t, std::pair<int64_t, int64_t>> by_class;  // right, all
  for (const auto& [pair, count] : counts_) {
    auto& [right, all] = by_class[pair.first];
    if (pair.first == pair.second) right += count;
    all += count;
  }
  double sum = 0;
  for (const auto& [label, found] : by_class) {
    sum += static_cast<double>(found.first) / static_cast<double>(found.second);
  }
  return by_class.empty() ? 0 : sum / static_cast<double>(by_class.size());
}

double ClassificationCounter::most_frequent_share() const {
  std::map<int64_t, int64_t> by_class;
  int64_t most = 0;
  for (const auto& [pair, count] : counts_) most = std::max(most, by_class[pair.first] += count);
  return num_samples_ == 0 ? 0 : static_cast<double>(most) / static_cast<double>(num_samples_);
}

std::vector<ClassificationCounter::Cell> ClassificationCounter::confusion() const {
  std::vector<Cell> cells;
  for (const auto& [pair, count] : counts_) cells.push_back({pair.first, pair.second, count});
  return cells;
}

}  // namespace triptych::evaluation
