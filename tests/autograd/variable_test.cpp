#include "autograd/variable.h"

#include <vector>

#include <gtest/gtest.h>

#include "autograd/recompute.h"
#include "support/gradient_check.h"

namespace triptych {
namespace {

using namespace test;
using Values = std::vector<float>;

// y = factor * x; `runs` counts its backwards.
Variable times(const Variable& x, float factor, int* runs = nullptr) {
  Values values = x.tensor().to_vector<float>();
  for (float& v : values) v *= factor;
  return record("times", {x}, Tensor::from<float>(x.tensor().device(), x.tensor().shape(), values), x.global_shape(),
                x.layout(), [factor, runs](const Gradient& dy, InputGradients& inputs) {
                  if (runs != nullptr) ++*runs;
                  Values dx = dy.tensor.to_vector<float>();
                  for (float& v : dx) v *= factor;
                  inputs.add(0, Tensor::from<float>(dy.tensor.device(), dy.tensor.shape(), dx), dy.layout);
                });
}

// y = a + b, handing the very same gradient to both.
Variable sum(const Variable& a, const Variable& b) {
  Values values = a.tensor().to_vector<float>();
  const Values others = b.tensor().to_vector<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += others[i];
  return record("sum", {a, b}, Tensor::from<float>(a.tensor().device(), a.tensor().shape(), values), a.global_shape(),
                a.layout(), [](const Gradient& dy, InputGradients& inputs) {
                  inputs.add(0, dy.tensor, dy.layout);
                  inputs.add(1, dy.tensor, dy.layout);
                });
}

// (2 x, 3 x); `runs` counts its backwards, which take a missing gradient for 0.
std::pair<Variable, Variable> twice_and_thrice(const Variable& x, int* runs) {
  const auto scaled = [&](float factor) {
    Values values = x.tensor().to_vector<float>();
    for (float& v : values) v *= factor;
    return Result{Tensor::from<float>(x.tensor().device(), x.tensor().shape(), values), x.global_shape(), x.layout()};
  };
  return record_pair("twice_and_thrice", {x}, scaled(2), scaled(3),
                     [runs](const Gradient* dtwice, const Gradient* dthrice, InputGradients& inputs) {
                       ++*runs;
                       const Gradient& any = dtwice != nullptr ? *dtwice : *dthrice;
                       Values dx(static_cast<std::size_t>(any.tensor.num_elements()));
                       const auto add = [&](const Gradient* dy, float factor) {
                         if (dy == nullptr) return;
                         const Values values = dy->tensor.to_vector<float>();
                         for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += factor * values[i];
                       };
                       add(dtwice, 2);
                       add(dthrice, 3);
                       inputs.add(0, Tensor::from<float>(any.tensor.device(), any.tensor.shape(), dx), any.layout);
                     });
}

class Autograd : public ::testing::Test {
 protected:
  Variable leaf(const Values& values) {
    const Shape shape{static_cast<int64_t>(values.size())};
    return Variable::leaf(Tensor::from<float>(rank_.device, shape, values), shape, Layout());
  }
  Gradient gradient(const Values& values) {
    return {Tensor::from<float>(rank_.device, Shape{static_cast<int64_t>(values.size())}, values), Layout()};
  }
  void run(const Variable& y, const Gradient& dy, const std::function<void()>& poll = {}) {
    backward(std::span(&y, 1), std::span(&dy, 1), poll);
  }
  static Values gradient_of(const Variable& x) { return x.gradient()->tensor.to_vector<float>(); }

  OneRank rank_;
};

TEST_F(Autograd, ANodeRunsOnceWithTheSumOfItsUses) {
  const Variable x = leaf({1, 2});
  int runs = 0;
  const Variable h = times(x, 2, &runs);
  // The short use is at depth 2, the long one at 4: h waits for both.
  const Variable y = sum(times(h, 3), times(times(times(h, 5), 7), -1));
  EXPECT_EQ(y.tensor().to_vector<float>(), (Values{-64, -128}));
  run(y, gradient({1, 10}));
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(gradient_of(x), (Values{-64, -640}));
}

TEST_F(Autograd, ANodeWithTwoResultsRunsOnceWithBothGradients) {
  const Variable x = leaf({1, 2});
  int runs = 0;
  const auto [twice, thrice] = twice_and_thrice(times(x, 1), &runs);
  // One result's use is at depth 2, the other's at 4, and it is used twice.
  const Variable y = sum(times(twice, 10), times(times(sum(thrice, thrice), 5), 7));
  EXPECT_EQ(y.tensor().to_vector<float>(), (Values{230, 460}));
  run(y, gradient({1, 10}));
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(gradient_of(x), (Values{230, 2300}));
}

TEST_F(Autograd, AResultThatNobodyUsesHasNoGradient) {
  for (const bool first : {true, false}) {
    const Variable x = leaf({1});
    int runs = 0;
    const auto [twice, thrice] = twice_and_thrice(x, &runs);
    run(first ? twice : thrice, gradient({5}));
    EXPECT_EQ(runs, 1);
    EXPECT_EQ(gradient_of(x), Values{first ? 10.0f : 15.0f});
  }
  int runs = 0;
  const auto [twice, thrice] = twice_and_thrice(Variable::constant(gradient({2}).tensor, Shape{1}, Layout()), &runs);
  EXPECT_FALSE(twice.needs_gradient() || thrice.needs_gradient());
}

TEST_F(Autograd, SeveralUsesInOneOperation) {
  const Variable x = leaf({3});
  run(sum(sum(x, x), x), gradient({5}));
  EXPECT_EQ(gradient_of(x), Values{15});
}

TEST_F(Autograd, WhatWasHandedOutIsNotOverwritten) {
  const Variable a = leaf({1}), b = leaf({2});
  const Gradient seed = gradient({4});
  // `a` gets the seed itself and then another summand: the sum needs memory of its own.
  run(sum(sum(a, b), times(a, 10)), seed);
  EXPECT_EQ(gradient_of(a), Values{44});
  EXPECT_EQ(gradient_of(b), Values{4});
  EXPECT_EQ(seed.tensor.to_vector<float>(), Values{4});
}

TEST_F(Autograd, LeavesAccumulateOverRootsAndRuns) {
  const Variable x = leaf({1});
  const std::vector<Variable> roots{times(x, 2), times(x, 3)};
  const std::vector<Gradient> seeds{gradient({1}), gradient({100})};
  backward(roots, seeds, {});
  EXPECT_EQ(gradient_of(x), Values{302});
  run(times(x, 7), gradient({1}));
  EXPECT_EQ(gradient_of(x), Values{309});
}

TEST_F(Autograd, ConstantsRecordNothingAndGetNothing) {
  const Variable c = Variable::constant(gradient({2}).tensor, Shape{1}, Layout());
  int runs = 0;
  EXPECT_FALSE(times(c, 3, &runs).needs_gradient());
  const Variable x = leaf({1});
  run(sum(times(c, 3, &runs), x), gradient({1}));
  EXPECT_EQ(runs, 0);
  EXPECT_EQ(gradient_of(x), Values{1});
  EXPECT_FALSE(leaf({1}).gradient().has_value()) << "a leaf that nothing reached";
}

TEST_F(Autograd, AGraphRunsBackwardsOnce) {
  const Variable x = leaf({1});
  const Variable y = times(x, 2);
  run(y, gradient({1}));
  EXPECT_THROW(run(y, gradient({1})), InternalError);
}

TEST_F(Autograd, SummandsOfOneVariableHaveOneLayout) {
  const Layout partial = Layout().with(Axis::kTp, Placement::partial());
  const Variable x = leaf({1});
  const Variable a = times(x, 2), b = times(x, 3);
  const std::vector<Variable> roots{a, b};
  const std::vector<Gradient> seeds{gradient({1}), {gradient({1}).tensor, partial}};
  try {
    backward(roots, seeds, {});
    FAIL() << "added a summand to a sum";
  } catch (const LayoutError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("tp: Partial"), std::string::npos) << text;
    EXPECT_NE(text.find("Replicate"), std::string::npos) << text;
  }
}

TEST_F(Autograd, PartialSummandsAreSummedAsTheyAre) {
  const Layout partial = Layout().with(Axis::kTp, Placement::partial());
  const Variable x = leaf({1});
  const std::vector<Variable> roots{times(x, 2), times(x, 3)};
  const std::vector<Gradient> seeds{{gradient({1}).tensor, partial}, {gradient({1}).tensor, partial}};
  backward(roots, seeds, {});
  EXPECT_EQ(x.gradient()->layout, partial);
  EXPECT_EQ(gradient_of(x), Values{5});
}

// Each operation keeps a tensor of 64 KiB; after its node has run, the device has that much less in use.
TEST_F(Autograd, SavedMemoryIsReleasedNodeByNode) {
  constexpr int kNodes = 6;
  constexpr int64_t kElements = 1 << 14;
  Variable y = leaf({1});
  for (int i = 0; i < kNodes; ++i) {
    const Tensor saved = Tensor::zeros(rank_.device, DType::kFloat32, Shape{kElements});
    y = record("saves", {y}, y.tensor(), y.global_shape(), y.layout(),
               [saved](const Gradient& dy, InputGradients& inputs) { inputs.add(0, dy.tensor, dy.layout); });
  }
  std::vector<std::size_t> used{rank_.device.memory().used_bytes};
  run(y, gradient({1}), [&] { used.push_back(rank_.device.memory().used_bytes); });
  ASSERT_EQ(used.size(), static_cast<std::size_t>(kNodes) + 1);
  EXPECT_GE(used[0], std::size_t{kNodes} * kElements * 4);
  for (std::size_t i = 1; i < used.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(used[i - 1] - used[i]), kElements * 4, 256) << "node " << i;
  }
}

TEST_F(Autograd, AnUnusedGraphIsFreedWithoutRunning) {
  const std::size_t before = rank_.device.memory().used_bytes;
  {
    Variable y = leaf({1});
    for (int i = 0; i < 1000; ++i) y = times(y, 1);
    EXPECT_GT(rank_.device.memory().used_bytes, before);
  }
  EXPECT_EQ(rank_.device.memory().used_bytes, before);
}

class ParameterGradient : public Autograd {
 protected:
  ParameterGradient() {
    parameter_.name = "w";
    parameter_.global_shape = Shape{2};
    parameter_.value = parameter_.compute = gradient({3, 4}).tensor;
    parameter_.gradient = gradient({-99, -99}).tensor;  // undefined until the first summand
  }
  // y = w + x, whose backward adds to (or, with `can_assign`, writes) the parameter's gradient.
  Variable use(const Variable& x, bool can_assign, const Layout& layout = Layout()) {
    return record("use", {Variable::of(parameter_, true), x}, x.tensor(), x.global_shape(), x.layout(),
                  [can_assign, layout](const Gradient& dy, InputGradients& inputs) {
                    bool assign = false;
                    float* g = inputs.parameter(0, layout, can_assign ? &assign : nullptr).data<float>();
                    const Values summand = dy.tensor.to_vector<float>();
                    for (std::size_t i = 0; i < summand.size(); ++i) g[i] = (assign ? 0 : g[i]) + summand[i];
                    inputs.add(1, dy.tensor, dy.layout);
                  });
  }
  Parameter parameter_;
};

TEST_F(ParameterGradient, TheFirstSummandIsAssignedOrAddedToZero) {
  for (const bool can_assign : {false, true}) {
    parameter_.gradient_is_empty = true;
    parameter_.num_summands = 0;
    run(use(use(leaf({1, 1}), can_assign), can_assign), gradient({1, 2}));
    EXPECT_EQ(parameter_.gradient.to_vector<float>(), (Values{2, 4}));
    EXPECT_EQ(parameter_.num_summands, 2);
    EXPECT_FALSE(parameter_.gradient_is_empty);
  }
}

TEST_F(ParameterGradient, ASummandOfAnotherLayoutThanPlannedIsRefused) {
  parameter_.gradient_layout = Layout().with(Axis::kDp, Placement::partial());
  const Variable y = use(leaf({1, 1}), false, Layout());
  EXPECT_THROW(run(y, gradient({1, 2})), LayoutError);
}

TEST_F(ParameterGradient, NotRecordedMeansNotReached) {
  const Variable w = Variable::of(parameter_, false);
  EXPECT_FALSE(w.needs_gradient());
  EXPECT_FALSE(times(w, 2).needs_gradient());
}

// x -> 3 (w + 2 x), kept as a whole and run again.
TEST_F(ParameterGradient, RecomputationGivesTheSameGradients) {
  std::vector<Values> results[2];
  int runs = 0;
  const Segment segment = [&](const Variable& x, bool record_graph) {
    ++runs;
    const Variable h = times(x, 2);
    if (!record_graph) {
      EXPECT_FALSE(h.needs_gradient());
      return times(h, 3);
    }
    return times(use(h, true), 3);
  };
  for (const bool again : {false, true}) {
    parameter_.gradient_is_empty = true;
    const Variable x = leaf({0.1f, 0.7f});
    const Variable y = again ? recompute(segment, x, {}) : segment(x, true);
    run(times(y, 0.3f), gradient({1.5f, -0.9f}));
    results[again] = {gradient_of(x), parameter_.gradient.to_vector<float>()};
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(runs, 3);
}

TEST_F(ParameterGradient, RecomputationReachesParametersThoughItsInputNeedsNoGradient) {
  const Segment segment = [&](const Variable& x, bool record_graph) { return record_graph ? use(x, true) : x; };
  const Variable data = Variable::constant(gradient({5, 5}).tensor, Shape{2}, Layout());
  run(recompute(segment, data, {}), gradient({1, 2}));
  EXPECT_EQ(parameter_.gradient.to_vector<float>(), (Values{1, 2}));
}

}  // namespace
}  // namespace triptych
