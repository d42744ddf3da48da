#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "parallel/group.h"

namespace triptych::evaluation {

/// Share of queries with a right candidate among the first k.
struct RecallAtK {
  double at_1 = 0, at_5 = 0, at_10 = 0;
};

/// A rectangle of scores: that of query `first_query + i` and candidate `first_candidate + j` is
/// scores[i * query_stride + j * candidate_stride]. One block of a matrix [images, captions] serves both directions,
/// with the strides exchanged.
struct ScoreBlock {
  const float* scores = nullptr;
  int64_t first_query = 0, num_queries = 0;
  int64_t first_candidate = 0, num_candidates = 0;
  int64_t query_stride = 0, candidate_stride = 1;
};

/// Recall at 1, 5 and 10 where a query may have several right candidates, of which one suffices: "any of its captions",
/// as image-text retrieval is measured since Karpathy and Fei-Fei 2015 (Deep Visual-Semantic Alignments, 4.1) and
/// Faghri et al. 2018 (VSE++, 4.1). Scores come in blocks, in any order; the matrix is never held.
///
/// A candidate is right if it is of the query's group: for captions to images, the group is the image. A wrong
/// candidate that has the same score as the best right one counts as found before it, and so does one whose score is
/// NaN; so a model that gives everything the same score has no recall.
///
/// Memory: 11 floats a query, 8 bytes a query and a candidate. Not thread-safe.
class RecallCounter {
 public:
  /// The group of each query and of each candidate; any numbers. Queries without a right candidate are left out of all
  /// shares; `num_queries` says how many are left.
  RecallCounter(std::vector<int64_t> query_groups, std::vector<int64_t> candidate_groups);

  /// Each pair of a query and a candidate must come exactly once. Throws InternalError for a block outside the matrix.
  void add(const ScoreBlock& block);

  /// Brings together what the ranks of a group have added, each of them other pairs; afterwards all have the same.
  /// Collective. Takes as much memory again.
  void combine(Group& group);

  /// Throws InternalError unless as many scores were added as there are pairs. Zeros if no query has a right candidate.
  RecallAtK recall() const;
  /// What a random order of the candidates reaches: of n candidates with r right ones, 1 - C(n-r, k) / C(n, k), the
  /// mean over the queries.
  RecallAtK chance() const;
  int64_t num_queries() const { return num_counted_; }

 private:
  int64_t num_right(std::size_t query) const;
  void add_wrong(std::size_t query, float score);
  template <typename ShareOfQuery>
  double mean(ShareOfQuery share) const;

  std::vector<int64_t> query_groups_, candidate_groups_;
  std::unordered_map<int64_t, int64_t> group_sizes_;  // of candidates
  std::vector<float> best_right_;                     // by query
  std::vector<float> best_wrong_;                     // by query a heap of the ten best, the least first
  int64_t num_counted_ = 0, num_added_ = 0;
};

}  // namespace triptych::evaluation
