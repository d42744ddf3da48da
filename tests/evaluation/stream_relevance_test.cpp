#include "evaluation/stream_relevance.h"

#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"

namespace triptych::test {
namespace {

// One head whose weights count with a gradient of 1, but for where `slopes` says otherwise.
AttentionWeights attention(int64_t rows, int64_t cols, const std::vector<double>& weights,
                           std::vector<double> slopes = {}) {
  if (slopes.empty()) slopes.assign(weights.size(), 1);
  return {.name = "a", .heads = {{rows, cols, weights}}, .gradients = {{rows, cols, slopes}}};
}

void expect_near(const Matrix& found, const std::vector<double>& expected) {
  ASSERT_EQ(found.values.size(), expected.size());
  for (std::size_t k = 0; k < expected.size(); ++k) EXPECT_NEAR(found.values[k], expected[k], 1e-15) << k;
}

// On paper. Within itself with a = [[0, 1], [0, 0]] (what has a negative gradient counts as 0): R^ss = [[1, 1], [0,
// 1]], and R' is the same. The other stream has R^qq = [[3, 1], [0, 1]], so R' = [[5/3, 1/3], [0, 1]], and R^qs =
// [[0, 1], [2, 0]]. Across with a = [[1, 0], [0, 2]]: R^sq = [[1, 0], [1, 1]] [[5/3, 1/3], [0, 2]] = [[5/3, 1/3],
// [5/3, 7/3]], R^ss += [[0, 1], [4, 0]]. Within again with a = [[0, 0], [1, 0]]: the second rows get the first ones.
TEST(StreamRelevanceTest, IsThatOfTheEquationsOnPaper) {
  StreamRelevance text(2, 2), image(2, 2);
  text.attend_within(attention(2, 2, {0, 0.5, 0, 0.25}, {7, 2, 3, -1}));
  expect_near(text.own, {1, 1, 0, 1});
  expect_near(text.other, {0, 0, 0, 0});
  image.own.values = {3, 1, 0, 1};
  image.other.values = {0, 1, 2, 0};
  text.attend_across(attention(2, 2, {1, 0, 0, 2}), image);
  expect_near(text.other, {5.0 / 3, 1.0 / 3, 5.0 / 3, 7.0 / 3});
  expect_near(text.own, {1, 2, 4, 1});
  text.attend_within(attention(2, 2, {0, 0, 1, 0}));
  expect_near(text.own, {1, 2, 5, 3});
  expect_near(text.other, {5.0 / 3, 1.0 / 3, 10.0 / 3, 8.0 / 3});
}

// A stream that nothing has mixed yet: what it attends to is what is relevant. Other sizes than square.
TEST(StreamRelevanceTest, OfOneAttentionIsItsWeights) {
  StreamRelevance text(2, 3), image(3, 2);
  text.attend_across(attention(2, 3, {0.1, 0.2, 0.7, 0, 0.5, 0.5}), image);
  expect_near(text.other, {0.1, 0.2, 0.7, 0, 0.5, 0.5});
  expect_near(text.own, {1, 0, 0, 1});
  EXPECT_THROW(text.attend_within(attention(3, 3, std::vector<double>(9, 0))), InternalError);
}

}  // namespace
}  // namespace triptych::test
