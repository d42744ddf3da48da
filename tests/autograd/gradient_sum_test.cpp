#include "autograd/gradient_sum.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "support/one_rank.h"

namespace triptych::test {
namespace {

using Values = std::vector<float>;

const Layout kPartial = Layout().with(Axis::kDp, Placement::partial());

class GradientSumTest : public ::testing::Test {
 protected:
  Tensor tensor(const Values& values) {
    return Tensor::from<float>(rank_.device, Shape{static_cast<int64_t>(values.size())}, values);
  }
  Tensor halves(const Values& values) {
    std::vector<BFloat16> rounded;
    for (const float value : values) rounded.push_back(BFloat16(value));
    return Tensor::from<BFloat16>(rank_.device, Shape{static_cast<int64_t>(values.size())}, rounded);
  }
  static Values values_of(const GradientSum& sum) { return sum.tensor().to_vector<float>(); }

  test::OneRank rank_;
};

TEST_F(GradientSumTest, IsEmptyUntilTheFirstSummand) {
  GradientSum sum;
  EXPECT_TRUE(sum.empty());
  EXPECT_FALSE(sum.value().has_value());
  EXPECT_FALSE(sum.take().has_value());
  EXPECT_THROW(sum.layout(), InternalError);
  sum.add("a", tensor({1, 2}), kPartial);
  EXPECT_EQ(sum.layout(), kPartial);
  sum.add("b", tensor({10, 20}), kPartial);
  const std::optional<Gradient> taken = sum.take();
  EXPECT_EQ(taken->tensor.to_vector<float>(), (Values{11, 22}));
  EXPECT_EQ(taken->layout, kPartial);
  EXPECT_TRUE(sum.empty());
  EXPECT_TRUE(taken->tensor.is_sole_owner());
}

TEST_F(GradientSumTest, TellsWhoWatchesOfEverySummandAndUse) {
  std::vector<std::size_t> changed;
  GradientSum sum, other;
  sum.watch(&changed, 7);
  other.watch(&changed, 3);
  EXPECT_TRUE(changed.empty());
  sum.add("a", tensor({1, 2}), Layout());
  other.target("b", rank_.device, Shape{2}, Layout());
  sum.count_use();
  other.replace("c", tensor({3, 4}), Layout());
  EXPECT_EQ(changed, (std::vector<std::size_t>{7, 3, 7, 3}));
  sum.drain();
  sum.reset();
  EXPECT_EQ(changed.size(), 4u);
  sum.watch(nullptr, 0);
  sum.add("d", tensor({1, 2}), Layout());
  EXPECT_EQ(changed.size(), 4u);
}

TEST_F(GradientSumTest, OverwritesNothingThatOthersHold) {
  const Tensor first = tensor({1, 2}), second = tensor({10, 20});
  GradientSum sum;
  sum.add("a", first, Layout());
  sum.add("b", second, Layout());
  sum.add("c", tensor({100, 200}), Layout());
  EXPECT_EQ(values_of(sum), (Values{111, 222}));
  const Tensor held = sum.tensor();
  const GradientTarget target = sum.target("d", rank_.device, Shape{2}, Layout());
  EXPECT_FALSE(target.assign);
  target.tensor.data<float>()[0] += 1000;
  EXPECT_EQ(values_of(sum), (Values{1111, 222}));
  EXPECT_EQ(held.to_vector<float>(), (Values{111, 222}));
  EXPECT_EQ(first.to_vector<float>(), (Values{1, 2}));
  EXPECT_EQ(second.to_vector<float>(), (Values{10, 20}));
}

TEST_F(GradientSumTest, OfSlicesTakesThemAsTheyLie) {
  const Tensor columns = Tensor::from<float>(rank_.device, Shape{2, 2}, Values{1, 2, 3, 4}).slice(1, 1, 1);
  for (const bool has_memory : {false, true}) {
    GradientSum sum("w");
    if (has_memory) sum.move_to(Tensor::zeros(rank_.device, DType::kFloat32, Shape{2, 1}));
    sum.add("a", columns, Layout());
    sum.add("b", columns, Layout());
    EXPECT_EQ(values_of(sum), (Values{4, 8}));
  }
}

// 1 and 256 summands of 2^-8: in bfloat16, whose unit roundoff is 2^-9, each would be rounded away.
TEST_F(GradientSumTest, OfAParameterIsFloat32WhateverItsSummands) {
  for (const bool has_memory : {false, true}) {
    GradientSum sum("w");
    if (has_memory) sum.move_to(Tensor::zeros(rank_.device, DType::kFloat32, Shape{1}));
    sum.add("a", halves({1}), Layout());
    for (int i = 0; i < 256; ++i) sum.add("b", halves({0x1p-8f}), Layout());
    EXPECT_EQ(sum.tensor().dtype(), DType::kFloat32);
    EXPECT_EQ(values_of(sum), Values{2});
  }
  GradientSum replaced("w");
  replaced.replace("a", halves({3}), Layout());
  EXPECT_EQ(values_of(replaced), Values{3});
}

// An operation's 16-bit result that one use sums in float32, as kernels do for weights, and another does not.
TEST_F(GradientSumTest, OfSummandsOfTwoTypesIsFloat32) {
  for (const bool kernel_first : {false, true}) {
    GradientSum sum;
    const auto by_kernel = [&] {
      const GradientTarget target = sum.target("kernel", rank_.device, Shape{2}, Layout());
      float* const g = target.tensor.data<float>();
      for (int i = 0; i < 2; ++i) g[i] = (target.assign ? 0 : g[i]) + 1 + 0x1p-20f;
    };
    if (kernel_first) by_kernel();
    sum.add("b", halves({1, 2}), Layout());
    EXPECT_EQ(sum.tensor().dtype(), kernel_first ? DType::kFloat32 : DType::kBFloat16);
    if (!kernel_first) by_kernel();
    EXPECT_EQ(values_of(sum), (Values{2 + 0x1p-20f, 3 + 0x1p-20f}));
    sum.add("c", halves({4, 4}), Layout());
    EXPECT_EQ(values_of(sum), (Values{6 + 0x1p-20f, 7 + 0x1p-20f}));
  }
}

TEST_F(GradientSumTest, StaysInTheMemoryThatItWasGiven) {
  GradientSum sum("w");
  sum.add("a", tensor({1, 2}), Layout());
  const Tensor bucket = tensor({-9, -9, -9});
  sum.move_to(bucket.slice(0, 1, 2));
  EXPECT_EQ(bucket.to_vector<float>(), (Values{-9, 1, 2}));
  sum.add("b", tensor({10, 20}), Layout());
  EXPECT_EQ(bucket.to_vector<float>(), (Values{-9, 11, 22}));
  sum.replace("c", tensor({5, 6}), Layout());
  EXPECT_EQ(bucket.to_vector<float>(), (Values{-9, 5, 6}));
  sum.target("d", rank_.device, Shape{2}, Layout()).tensor.data<float>()[1] += 1;
  EXPECT_EQ(bucket.to_vector<float>(), (Values{-9, 5, 7}));
  sum.reset();
  sum.add("e", tensor({3, 4}), kPartial);
  EXPECT_EQ(bucket.to_vector<float>(), (Values{-9, 3, 4}));
  sum.reset();
  EXPECT_TRUE(sum.target("f", rank_.device, Shape{2}, Layout()).assign);
  EXPECT_THROW(sum.add("g", tensor({1}), Layout()), InternalError);
}

TEST_F(GradientSumTest, ThatNothingReachedIsCompletedByZeros) {
  GradientSum sum("w");
  EXPECT_THROW(sum.complete(), InternalError) << "there is no memory yet";
  sum.move_to(tensor({-9, NAN}));
  sum.complete();
  EXPECT_EQ(values_of(sum), (Values{0, 0}));
  sum.complete();
  sum.add("a", tensor({1, 2}), Layout());
  sum.complete();
  EXPECT_EQ(values_of(sum), (Values{1, 2}));
}

TEST_F(GradientSumTest, RefusesSummandsWhileItIsReduced) {
  GradientSum sum("vision.weight");
  sum.add("a", tensor({1}), Layout());
  sum.count_use();
  sum.close();
  EXPECT_THROW(sum.add("late", tensor({1}), Layout()), InternalError);
  EXPECT_THROW(sum.replace("late", tensor({1}), Layout()), InternalError);
  try {
    sum.target("late", rank_.device, Shape{1}, Layout());
    FAIL() << "gave out memory that a collective writes";
  } catch (const InternalError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("late"), std::string::npos) << text;
    EXPECT_NE(text.find("vision.weight"), std::string::npos) << text;
  }
  EXPECT_EQ(sum.num_uses(), 1);
  sum.reset();
  EXPECT_EQ(sum.num_uses(), 0);
  sum.add("a", tensor({2}), Layout());
  EXPECT_EQ(values_of(sum), Values{2});
}

TEST_F(GradientSumTest, SumsOneLayoutAlone) {
  GradientSum sum("w");
  sum.add("first", tensor({1}), kPartial);
  EXPECT_THROW(sum.add("second", tensor({1}), Layout()), LayoutError);
  EXPECT_THROW(sum.target("second", rank_.device, Shape{1}, Layout()), LayoutError);
  EXPECT_THROW(sum.replace("second", tensor({1}), Layout()), LayoutError);
  EXPECT_EQ(values_of(sum), Values{1});
}

}  // namespace
}  // namespace triptych::test
