#include "evaluation/classification_metrics.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"

namespace triptych::test {
namespace {

using Cells = std::vector<ClassificationCounter::Cell>;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

void add(ClassificationCounter& counter, const std::vector<float>& scores, int64_t label) {
  counter.add(scores, label);
}

TEST(ClassificationCounter, CountsByHand) {
  ClassificationCounter counter(4);
  add(counter, {4, 3, 2, 1}, 0);  // right
  add(counter, {4, 3, 2, 1}, 0);  // right
  add(counter, {4, 3, 2, 1}, 1);  // second, taken for 0
  add(counter, {1, 2, 3, 4}, 0);  // last, taken for 3
  add(counter, {1, 9, 3, 4}, 1);  // right
  add(counter, {0, 0, 1, 2}, 2);  // second, taken for 3
  EXPECT_EQ(counter.num_samples(), 6);
  EXPECT_DOUBLE_EQ(counter.top_k_accuracy(1), 3.0 / 6);
  EXPECT_DOUBLE_EQ(counter.top_k_accuracy(2), 5.0 / 6);
  EXPECT_DOUBLE_EQ(counter.top_k_accuracy(3), 5.0 / 6);
  EXPECT_DOUBLE_EQ(counter.top_k_accuracy(4), 1);
  EXPECT_DOUBLE_EQ(counter.top_k_accuracy(10), 1);
  // Class 0: 2 of 3, class 1: 1 of 2, class 2: 0 of 1; class 3 does not occur.
  EXPECT_DOUBLE_EQ(counter.macro_recall(), (2.0 / 3 + 1.0 / 2) / 3);
  EXPECT_DOUBLE_EQ(counter.most_frequent_share(), 3.0 / 6) << "class 0, whatever it is taken for";
  EXPECT_EQ(counter.confusion(), (Cells{{0, 0, 2}, {0, 3, 1}, {1, 0, 1}, {1, 1, 1}, {2, 3, 1}}));
}

TEST(ClassificationCounter, TiesAndNaNCountAgainstTheModel) {
  ClassificationCounter same(3);
  for (int64_t label = 0; label < 3; ++label) add(same, {0.5f, 0.5f, 0.5f}, label);
  EXPECT_EQ(same.top_k_accuracy(1), 0);
  EXPECT_EQ(same.top_k_accuracy(2), 0);
  EXPECT_EQ(same.top_k_accuracy(3), 1);
  EXPECT_EQ(same.confusion(), (Cells{{0, 1, 1}, {1, 0, 1}, {2, 0, 1}}));
  ClassificationCounter odd(3);
  add(odd, {1, 5, kNaN}, 0);
  add(odd, {kNaN, 5, 7}, 0);
  add(odd, {5, 1, kNaN}, 0);
  add(odd, {kNaN, 5, kNaN}, 1);
  EXPECT_EQ(odd.top_k_accuracy(1), 0);
  EXPECT_EQ(odd.confusion(), (Cells{{0, 2, 3}, {1, 0, 1}}));
}

TEST(ClassificationCounter, NothingCountedIsZero) {
  const ClassificationCounter counter(1);
  EXPECT_EQ(counter.top_k_accuracy(1), 0);
  EXPECT_EQ(counter.macro_recall(), 0);
  EXPECT_EQ(counter.most_frequent_share(), 0);
  EXPECT_TRUE(counter.confusion().empty());
}

TEST(ClassificationCounter, RefusesWhatDoesNotFit) {
  ClassificationCounter counter(2);
  EXPECT_THROW(add(counter, {1, 2, 3}, 0), InternalError);
  EXPECT_THROW(add(counter, {1, 2}, 2), InternalError);
  EXPECT_THROW(add(counter, {1, 2}, -1), InternalError);
  EXPECT_THROW(counter.top_k_accuracy(0), InternalError);
  EXPECT_THROW(counter.top_k_accuracy(11), InternalError);
  EXPECT_THROW(ClassificationCounter(0), InternalError);
}

}  // namespace
}  // namespace triptych::test
