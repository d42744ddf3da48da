#include "evaluation/retrieval_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A matrix [queries, candidates] in one piece.
RecallCounter counted(std::vector<int64_t> queries, std::vector<int64_t> candidates, const std::vector<float>& scores) {
  const auto num_queries = static_cast<int64_t>(queries.size()),
             num_candidates = static_cast<int64_t>(candidates.size());
  RecallCounter counter(std::move(queries), std::move(candidates));
  counter.add({scores.data(), 0, num_queries, 0, num_candidates, num_candidates, 1});
  return counter;
}

void expect_recall(const RecallAtK& recall, double at_1, double at_5, double at_10) {
  EXPECT_DOUBLE_EQ(recall.at_1, at_1);
  EXPECT_DOUBLE_EQ(recall.at_5, at_5);
  EXPECT_DOUBLE_EQ(recall.at_10, at_10);
}

TEST(RecallCounter, AnyOfAQuerysRightCandidatesSuffices) {
  // Three images with two captions each. By hand: the best right caption of image 0 is first, of image 1 second (behind
  // one wrong), of image 2 fourth (behind three).
  const std::vector<int64_t> images{0, 1, 2}, captions{0, 0, 1, 1, 2, 2};
  const std::vector<float> scores{9, 1, 8, 7, 6, 5,  //
                                  9, 1, 8, 2, 3, 4,  //
                                  9, 8, 7, 1, 2, 6};
  expect_recall(counted(images, captions, scores).recall(), 1.0 / 3, 1, 1);

  // The other direction, from the same matrix: captions 0 and 3 are best for their image (the first ties: below).
  RecallCounter to_image(captions, images);
  to_image.add({scores.data(), 0, 6, 0, 3, 1, 6});
  // caption 0: 9 9 9 tie, not found; 1: 1 1 8 no; 2: 8 8 7, image 1 ties with image 0, no; 3: 7 2 1, no; 4: 6 3 2, no;
  // 5: 5 4 6, image 2 is first.
  expect_recall(to_image.recall(), 1.0 / 6, 1, 1);
}

TEST(RecallCounter, TiesCountAgainstTheModel) {
  const std::size_t n = 12;
  std::vector<int64_t> groups(n);
  std::iota(groups.begin(), groups.end(), 0);
  expect_recall(counted(groups, groups, std::vector<float>(n * n, 0.5f)).recall(), 0, 0, 0);
  expect_recall(counted(groups, groups, std::vector<float>(n * n, kNaN)).recall(), 0, 0, 0);
  expect_recall(counted(groups, groups, std::vector<float>(n * n, -kInfinity)).recall(), 0, 0, 0);
  expect_recall(counted({1}, {1, 2}, {kInfinity, kNaN}).recall(), 0, 1, 1);
  expect_recall(counted({1}, {1, 2}, {kNaN, -kInfinity}).recall(), 0, 1, 1);
  expect_recall(counted({1}, {1, 1, 2}, {kNaN, 0.5f, 0.25f}).recall(), 1, 1, 1);
  expect_recall(counted({1}, {1, 1}, {0.5f, 0.5f}).recall(), 1, 1, 1);  // right ones do not stand in each other's way
}

TEST(RecallCounter, QueriesWithoutARightCandidateAreLeftOut) {
  const RecallCounter counter = counted({1, 7, 2}, {1, 2}, {1, 0, 1, 0, 1, 0});
  EXPECT_EQ(counter.num_queries(), 2);
  expect_recall(counter.recall(), 0.5, 1, 1);
  EXPECT_EQ(counted({7}, {1}, {0}).num_queries(), 0);
  expect_recall(counted({7}, {1}, {0}).recall(), 0, 0, 0);
  expect_recall(RecallCounter({}, {}).recall(), 0, 0, 0);
}

// Against sorting each whole row, by blocks of odd sizes in any order, with values that tie often.
TEST(RecallCounter, AgreesWithSortingWholeRows) {
  std::mt19937 random(5);
  const int64_t num_queries = 37, num_candidates = 53;
  std::vector<int64_t> queries, candidates;
  for (int64_t q = 0; q < num_queries; ++q) queries.push_back(q % 19);
  for (int64_t c = 0; c < num_candidates; ++c) candidates.push_back(static_cast<int64_t>(random() % 17));
  std::vector<float> scores;
  for (int64_t i = 0; i < num_queries * num_candidates; ++i) scores.push_back(static_cast<float>(random() % 29));

  int64_t counted_queries = 0;
  std::vector<int64_t> places;
  for (int64_t q = 0; q < num_queries; ++q) {
    std::vector<std::pair<float, int>> row;  // (minus the score, 1 if right): wrong ones first among equals
    for (int64_t c = 0; c < num_candidates; ++c) {
      const bool right = candidates[static_cast<std::size_t>(c)] == queries[static_cast<std::size_t>(q)];
      row.emplace_back(-scores[static_cast<std::size_t>(q * num_candidates + c)], right ? 1 : 0);
    }
    std::sort(row.begin(), row.end());
    const auto first = std::find_if(row.begin(), row.end(), [](const auto& each) { return each.second == 1; });
    if (first == row.end()) continue;
    ++counted_queries;
    places.push_back(first - row.begin());
  }
  const auto share = [&](int64_t k) {
    return static_cast<double>(std::count_if(places.begin(), places.end(), [&](int64_t place) { return place < k; })) /
           static_cast<double>(counted_queries);
  };

  RecallCounter counter(queries, candidates);
  std::vector<ScoreBlock> blocks;
  for (int64_t q = 0; q < num_queries; q += 11) {
    for (int64_t c = 0; c < num_candidates; c += 7) {
      blocks.push_back({scores.data() + q * num_candidates + c, q, std::min<int64_t>(11, num_queries - q), c,
                        std::min<int64_t>(7, num_candidates - c), num_candidates, 1});
    }
  }
  std::shuffle(blocks.begin(), blocks.end(), random);
  for (const ScoreBlock& block : blocks) counter.add(block);
  EXPECT_EQ(counter.num_queries(), counted_queries);
  EXPECT_LT(counted_queries, num_queries);
  expect_recall(counter.recall(), share(1), share(5), share(10));
}

TEST(RecallCounter, ChanceIsTheShareOfOrdersThatFindOne) {
  // One right of 8: k / 8. Two right of 6: at 1, 2/6; at 5 only the orders whose last... both cannot be outside: 1.
  expect_recall(RecallCounter({0}, {0, 1, 2, 3, 4, 5, 6, 7}).chance(), 0.125, 0.625, 1);
  expect_recall(RecallCounter({0}, {0, 0, 1, 2, 3, 4}).chance(), 1.0 / 3, 1, 1);
  // Five right of 25, as five captions of each of five images: 1 - C(20, k) / C(25, k) with C(20, 5) = 15504 and
  // C(25, 5) = 53130, C(20, 10) = 184756 and C(25, 10) = 3268760.
  std::vector<int64_t> captions;
  for (int64_t c = 0; c < 25; ++c) captions.push_back(c / 5);
  const RecallAtK chance = RecallCounter({0, 1, 2, 3, 4}, captions).chance();
  const std::vector<double> found{chance.at_1, chance.at_5, chance.at_10};
  const std::vector<double> expected{0.2, 1 - 15504.0 / 53130, 1 - 184756.0 / 3268760};
  EXPECT_LT(test::relative_error(found, expected), test::tolerance(DType::kFloat32).scalar);
  expect_recall(RecallCounter({0, 9}, {0, 1}).chance(), 0.5, 1, 1);
}

TEST(RecallCounter, RefusesWhatIsNotTheWholeMatrix) {
  const std::vector<float> scores(6, 0);
  RecallCounter counter({0, 1}, {0, 1, 2});
  EXPECT_THROW(counter.recall(), InternalError);
  EXPECT_THROW(counter.add({scores.data(), 1, 2, 0, 3, 3, 1}), InternalError);
  EXPECT_THROW(counter.add({scores.data(), 0, 2, -1, 3, 3, 1}), InternalError);
  EXPECT_THROW(counter.add({scores.data(), 0, 2, 2, 2, 3, 1}), InternalError);
  counter.add({scores.data(), 0, 2, 0, 2, 3, 1});
  EXPECT_THROW(counter.recall(), InternalError);
  counter.add({scores.data() + 2, 0, 2, 2, 1, 3, 1});
  EXPECT_NO_THROW(counter.recall());
}

}  // namespace
}  // namespace triptych::test
