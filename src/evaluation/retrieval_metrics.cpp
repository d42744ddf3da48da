#include "evaluation/retrieval_metrics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"

namespace triptych::evaluation {
namespace {

constexpr std::size_t kDeepest = 10;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace

RecallCounter::RecallCounter(std::vector<int64_t> query_groups, std::vector<int64_t> candidate_groups)
    : query_groups_(std::move(query_groups)),
      candidate_groups_(std::move(candidate_groups)),
      best_right_(query_groups_.size(), -kInfinity),
      best_wrong_(query_groups_.size() * kDeepest, -kInfinity) {
  for (const int64_t group : candidate_groups_) ++group_sizes_[group];
  for (std::size_t q = 0; q < query_groups_.size(); ++q) num_counted_ += num_right(q) > 0;
}

int64_t RecallCounter::num_right(std::size_t query) const {
  const auto found = group_sizes_.find(query_groups_[query]);
  return found == group_sizes_.end() ? 0 : found->second;
}

void RecallCounter::add_wrong(std::size_t query, float score) {
  const auto heap = best_wrong_.begin() + static_cast<std::ptrdiff_t>(query * kDeepest);
  if (score <= heap[0]) return;  // not so for NaN
  std::pop_heap(heap, heap + kDeepest, std::greater<>());
  heap[kDeepest - 1] = std::isnan(score) ? kInfinity : score;
  std::push_heap(heap, heap + kDeepest, std::greater<>());
}

void RecallCounter::combine(Group& group) {
  if (group.size() == 1) return;
  const auto num_queries = static_cast<int64_t>(query_groups_.size());
  group.all_reduce(best_right_.data(), num_queries, DType::kFloat32, ReduceOp::kMax)->wait();
  group.all_reduce(&num_added_, 1, DType::kInt64, ReduceOp::kSum)->wait();
  const std::vector<float> mine = best_wrong_;
  std::vector<float> of_rank(mine.size());
  for (int rank = 0; rank < group.size(); ++rank) {
    if (rank == group.rank()) of_rank = mine;
    group.broadcast(of_rank.data(), static_cast<int64_t>(of_rank.size()), DType::kFloat32, rank)->wait();
    if (rank == group.rank()) continue;
    for (std::size_t i = 0; i < of_rank.size(); ++i) add_wrong(i / kDeepest, of_rank[i]);
  }
}

void RecallCounter::add(const ScoreBlock& block) {
  const auto is_within = [](int64_t first, int64_t count, std::size_t size) {
    return first >= 0 && count >= 0 && first <= static_cast<int64_t>(size) - count;
  };
  TRIPTYCH_CHECK(is_within(block.first_query, block.num_queries, query_groups_.size()) &&
                     is_within(block.first_candidate, block.num_candidates, candidate_groups_.size()),
                 "scores of queries {} + {} of {}, candidates {} + {} of {}", block.first_query, block.num_queries,
                 query_groups_.size(), block.first_candidate, block.num_candidates, candidate_groups_.size());
  for (int64_t i = 0; i < block.num_queries; ++i) {
    const auto q = static_cast<std::size_t>(block.first_query + i);
    const float* row = block.scores + i * block.query_stride;
    for (int64_t j = 0; j < block.num_candidates; ++j) {
      const float score = row[j * block.candidate_stride];
      if (candidate_groups_[static_cast<std::size_t>(block.first_candidate + j)] == query_groups_[q]) {
        if (score > best_right_[q]) best_right_[q] = score;
        continue;
      }
      add_wrong(q, score);
    }
  }
  num_added_ += block.num_queries * block.num_candidates;
}

template <typename ShareOfQuery>
double RecallCounter::mean(ShareOfQuery share) const {
  double sum = 0;
  for (std::size_t q = 0; q < query_groups_.size(); ++q) {
    if (num_right(q) > 0) sum += share(q);
  }
  return num_counted_ == 0 ? 0 : sum / static_cast<double>(num_counted_);
}

RecallAtK RecallCounter::recall() const {
  const auto num_pairs = static_cast<int64_t>(query_groups_.size() * candidate_groups_.size());
  TRIPTYCH_CHECK(num_added_ == num_pairs, "{} scores were added, of {} queries and {} candidates", num_added_,
                 query_groups_.size(), candidate_groups_.size());
  const auto at = [&](std::size_t k) {
    return mean([&](std::size_t q) {
      // Empty places of the heap are -infinity, and there are no more wrong candidates than this.
      const std::size_t num_wrong =
          std::min(kDeepest, candidate_groups_.size() - static_cast<std::size_t>(num_right(q)));
      std::size_t before = 0;
      for (std::size_t i = 0; i < kDeepest; ++i) before += best_wrong_[q * kDeepest + i] >= best_right_[q];
      return std::min(before, num_wrong) < k ? 1.0 : 0.0;
    });
  };
  return {at(1), at(5), at(10)};
}

RecallAtK RecallCounter::chance() const {
  const auto n = static_cast<double>(candidate_groups_.size());
  const auto at = [&](int k) {
    return mean([&](std::size_t q) {
      const auto wrong = n - static_cast<double>(num_right(q));
      double none = 1;  // of the first k is right
      for (int i = 0; i < k && none > 0; ++i) none *= std::max(0.0, wrong - i) / (n - i);
      return 1 - none;
    });
  };
  return {at(1), at(5), at(10)};
}

}  // namespace triptych::evaluation
