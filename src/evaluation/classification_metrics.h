#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "base/rooms.h"

namespace triptych::evaluation {

/// Counts how often a classifier is right, sample by sample. Where another class has the score of the right one, or a
/// score that is NaN, it counts as being before it: a model that gives all classes the same score is never right.
///
/// Memory: 16 bytes a class, and a few dozen for each pair of classes that occurs. Not thread-safe.
class ClassificationCounter {
 public:
  struct Cell {
    int64_t truth = 0, predicted = 0;
    int64_t count = 0;
    bool operator==(const Cell&) const = default;
  };

  /// At least one class.
  explicit ClassificationCounter(int64_t num_classes);

  /// One sample: `scores` of all classes, and its class. Throws InternalError if these do not fit the number of
  /// classes.
  void add(std::span<const float> scores, int64_t label);

  int64_t num_samples() const { return num_samples_; }
  /// Share of samples whose class is among the first `k`, 1 to kMaxTopK; 0 without samples.
  double top_k_accuracy(int64_t k) const;
  /// The mean over the classes that occur of the share of their samples that were recognised (top 1): each class counts
  /// the same, however many samples it has. Also called balanced accuracy (Brodersen et al. 2010). 0 without samples.
  double macro_recall() const;
  /// Share of the samples that are of the class which occurs most often: what always naming that one reaches. 0 without
  /// samples.
  double most_frequent_share() const;
  /// The pairs (true, predicted class) that occur, in ascending order.
  std::vector<Cell> confusion() const;

  static constexpr int64_t kMaxTopK = 10;

 private:
  int64_t num_classes_;
  int64_t num_samples_ = 0;
  std::vector<int64_t> num_at_rank_;  // samples whose class is in place 0, 1, ..., kMaxTopK - 1
  std::map<std::pair<int64_t, int64_t>, int64_t> counts_;
};

}  // namespace triptych::evaluation
