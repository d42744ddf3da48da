#include "autograd/variable.h"

#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "autograd/recompute.h"
#include "autograd/record.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

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

// (2 x, 3 x, 5 x); `runs` counts its backwards, which take a missing gradient for 0.
std::vector<Variable> multiples(const Variable& x, int* runs) {
  static constexpr std::array kFactors{2.0f, 3.0f, 5.0f};
  std::vector<Result> results;
  for (const float factor : kFactors) {
    Values values = x.tensor().to_vector<float>();
    for (float& v : values) v *= factor;
    results.push_back(
        {Tensor::from<float>(x.tensor().device(), x.tensor().shape(), values), x.global_shape(), x.layout()});
  }
  return record_all("multiples", {x}, results,
                    [runs, x = x.tensor(), layout = x.layout()](std::span<const std::optional<Gradient>> dys,
                                                                InputGradients& inputs) {
                      ++*runs;
                      ASSERT_EQ(dys.size(), kFactors.size());
                      Values dx(static_cast<std::size_t>(x.num_elements()));
                      for (std::size_t r = 0; r < dys.size(); ++r) {
                        if (!dys[r]) continue;
                        const Values dy = dys[r]->tensor.to_vector<float>();
                        for (std::size_t i = 0; i < dx.size(); ++i) dx[i] += kFactors[r] * dy[i];
                      }
                      inputs.add(0, Tensor::from<float>(x.device(), x.shape(), dx), layout);
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
  void run(const Variable& y, const Gradient& dy, const BackwardOptions& options = {}) {
    backward(std::span(&y, 1), std::span(&dy, 1), options);
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

TEST_F(Autograd, ANodeWithSeveralResultsRunsOnceWithAllGradients) {
  const Variable x = leaf({1, 2});
  int runs = 0;
  const std::vector<Variable> y = multiples(times(x, 1), &runs);
  // The results' uses are at depths 2, 4 and 3, and the second is used twice.
  const Variable all = sum(sum(times(y[0], 10), times(times(sum(y[1], y[1]), 5), 7)), times(times(y[2], 11), 2));
  EXPECT_EQ(all.tensor().to_vector<float>(), (Values{340, 680}));
  run(all, gradient({1, 10}));
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(gradient_of(x), (Values{340, 3400}));
}

TEST_F(Autograd, AResultThatNobodyUsesHasNoGradient) {
  for (std::size_t used = 0; used < 3; ++used) {
    const Variable x = leaf({1});
    int runs = 0;
    run(multiples(x, &runs)[used], gradient({5}));
    EXPECT_EQ(runs, 1);
    const std::array expected{10.0f, 15.0f, 25.0f};
    EXPECT_EQ(gradient_of(x), Values{expected[used]});
  }
  int runs = 0;
  for (const Variable& y : multiples(Variable::constant(gradient({2}).tensor, Shape{1}, Layout()), &runs)) {
    EXPECT_FALSE(y.needs_gradient());
  }
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
  run(y, gradient({1}), {.poll = [&] { used.push_back(rank_.device.memory().used_bytes); }});
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
    parameter_.global_shape = Shape{2};
    parameter_.value = parameter_.compute = gradient({3, 4}).tensor;
  }
  // y = w + x; backward leaves the weight's gradient in its target, where `apart` lets it be run later.
  Variable use(const Variable& w, const Variable& x, const Layout& layout = Layout()) {
    return record("use", {w, x}, sum(w.detached(), x.detached()).tensor(), x.global_shape(), x.layout(),
                  [layout](const Gradient& dy, InputGradients& inputs) {
                    inputs.apart({0}, [dy, layout](InputGradients& later) {
                      const GradientTarget target = later.target(0, dy.tensor.device(), layout);
                      const Values summand = dy.tensor.to_vector<float>();
                      float* g = target.tensor.data<float>();
                      for (std::size_t i = 0; i < summand.size(); ++i) g[i] = (target.assign ? 0 : g[i]) + summand[i];
                    });
                    inputs.add(1, dy.tensor, dy.layout);
                  });
  }
  Variable w() { return Variable::of(parameter_, true); }
  Values parameter_gradient() const { return parameter_.gradient.tensor().to_vector<float>(); }

  Parameter parameter_{"w"};
};

TEST_F(ParameterGradient, TheFirstSummandIsAssignedAndTheOthersAreAdded) {
  for (const bool has_memory : {false, true}) {
    if (has_memory) parameter_.gradient.move_to(gradient({-99, -99}).tensor);  // not cleared by reset
    parameter_.gradient.reset();
    EXPECT_TRUE(parameter_.gradient.empty());
    run(use(w(), use(w(), leaf({1, 1}))), gradient({1, 2}));
    EXPECT_EQ(parameter_gradient(), (Values{2, 4}));
    EXPECT_EQ(parameter_.gradient.num_uses(), 2);
    EXPECT_EQ(parameter_.gradient.layout(), Layout());
  }
}

TEST_F(ParameterGradient, UsesThatLeaveItOtherwiseAreRefused) {
  const Layout partial = Layout().with(Axis::kDp, Placement::partial());
  const Variable y = use(w(), use(w(), leaf({1, 1}), partial));
  try {
    run(y, gradient({1, 2}));
    FAIL() << "summed what is laid out differently";
  } catch (const LayoutError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("(w)"), std::string::npos) << text;
    EXPECT_NE(text.find("dp: Partial"), std::string::npos) << text;
  }
}

TEST_F(ParameterGradient, NotRecordedMeansNotReached) {
  const Variable unreached = Variable::of(parameter_, false);
  EXPECT_FALSE(unreached.needs_gradient());
  EXPECT_FALSE(times(unreached, 2).needs_gradient());
}

// A weight that other operations made out of a parameter: x + (2 w + w).
TEST_F(ParameterGradient, GoesThroughWhatMadeTheWeight) {
  const Variable weight = sum(times(w(), 2), w());
  run(use(weight, use(weight, leaf({1, 1}))), gradient({1, 10}));
  EXPECT_EQ(parameter_gradient(), (Values{6, 60}));
  EXPECT_EQ(parameter_.gradient.num_uses(), 2) << "of the parameter itself, by `times` and `sum`";
}

// The kernels leave float32 sums; the operation that made a 16-bit weight gets its gradient as it is made for.
TEST_F(ParameterGradient, ArrivesInTheDtypeOfTheResult) {
  const std::vector<BFloat16> halves{BFloat16(0.5f), BFloat16(0.25f)};
  const Tensor narrow = Tensor::from<BFloat16>(rank_.device, Shape{2}, halves);
  const Variable weight =
      record("narrowed", {w()}, narrow, Shape{2}, Layout(), [](const Gradient& dy, InputGradients& inputs) {
        EXPECT_EQ(dy.tensor.dtype(), DType::kBFloat16);
        inputs.add(0, dy.tensor, dy.layout);
      });
  const Variable y = record("use", {weight}, gradient({0, 0}).tensor, Shape{2}, Layout(),
                            [](const Gradient& dy, InputGradients& inputs) {
                              GradientTarget target = inputs.target(0, dy.tensor.device(), Layout());
                              EXPECT_TRUE(target.assign);
                              target.tensor.copy_from(dy.tensor);
                            });
  run(y, gradient({3, -5}));
  EXPECT_EQ(parameter_gradient(), (Values{3, -5}));
}

// x -> 3 (w + 2 x), kept as a whole and run again.
TEST_F(ParameterGradient, RecomputationGivesTheSameGradients) {
  std::vector<Values> results[2];
  int runs = 0;
  const Segment segment = [&](std::span<const Variable> x, bool record_graph) {
    ++runs;
    const Variable h = times(x[0], 2);
    EXPECT_EQ(h.needs_gradient(), record_graph);
    return std::vector{times(use(Variable::of(parameter_, record_graph), h), 3)};
  };
  for (const bool again : {false, true}) {
    parameter_.gradient.reset();
    const Variable x = leaf({0.1f, 0.7f});
    const Variable y = again ? recompute(segment, std::span(&x, 1), true)[0] : segment(std::span(&x, 1), true)[0];
    run(times(y, 0.3f), gradient({1.5f, -0.9f}));
    results[again] = {y.tensor().to_vector<float>(), gradient_of(x), parameter_gradient()};
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(runs, 3);
}

TEST_F(ParameterGradient, RecomputationReachesParametersThoughItsInputNeedsNoGradient) {
  const Segment segment = [&](std::span<const Variable> x, bool record_graph) {
    return std::vector{use(Variable::of(parameter_, record_graph), x[0])};
  };
  const Variable data = Variable::constant(gradient({5, 5}).tensor, Shape{2}, Layout());
  run(recompute(segment, std::span(&data, 1), true)[0], gradient({1, 2}));
  EXPECT_EQ(parameter_gradient(), (Values{1, 2}));
}

TEST_F(ParameterGradient, AFrozenParameterIsAConstantAndNothingIsKeptToRecomputeIt) {
  parameter_.is_trained = false;
  EXPECT_FALSE(Variable::of(parameter_, true).needs_gradient());
  int runs = 0;
  const Segment segment = [&](std::span<const Variable> x, bool record_graph) {
    ++runs;
    return std::vector{use(Variable::of(parameter_, record_graph), x[0])};
  };
  const Variable data = Variable::constant(gradient({5, 5}).tensor, Shape{2}, Layout());
  const Variable y = recompute(segment, std::span(&data, 1), false)[0];
  EXPECT_FALSE(y.needs_gradient());
  run(y, gradient({1, 2}));
  EXPECT_EQ(runs, 1) << "backward ends above it";
  const Variable x = leaf({0.1f, 0.7f});
  run(recompute(segment, std::span(&x, 1), false)[0], gradient({1, 2}));
  EXPECT_EQ(runs, 3) << "the input's gradient goes through it";
  EXPECT_TRUE(x.gradient().has_value());
  EXPECT_TRUE(parameter_.gradient.empty());
}

// (a, data) -> (2 a + data, 3 data): one input is data, one result is a function of that alone or is not used.
TEST_F(ParameterGradient, RecomputationTakesSeveralInputsAndGivesSeveralResults) {
  const Segment segment = [&](std::span<const Variable> in, bool record_graph) {
    EXPECT_FALSE(in[1].needs_gradient());
    const Variable weight = Variable::of(parameter_, record_graph);
    return std::vector{sum(times(in[0], 2), in[1]), use(weight, times(in[1], 3))};
  };
  for (const bool both : {false, true}) {
    parameter_.gradient.reset();
    const std::vector<Variable> in{leaf({1, 2}), Variable::constant(gradient({10, 20}).tensor, Shape{2}, Layout())};
    const std::vector<Variable> y = recompute(segment, in, true);
    ASSERT_EQ(y.size(), 2u);
    EXPECT_EQ(y[0].tensor().to_vector<float>(), (Values{12, 24}));
    EXPECT_EQ(y[1].tensor().to_vector<float>(), (Values{33, 64}));
    run(both ? sum(y[0], y[1]) : times(y[0], 1), gradient({1, 10}));
    EXPECT_EQ(gradient_of(in[0]), (Values{2, 20}));
    EXPECT_EQ(parameter_.gradient.empty(), !both);
    if (both) {
      EXPECT_EQ(parameter_gradient(), (Values{1, 10}));
    }
  }
}

// What is needed for dx is run, what is needed for the weights waits, also inside what is recomputed.
TEST_F(ParameterGradient, IsLeftForLaterWhereTheTwoHalvesAreApart) {
  for (const bool recomputed : {false, true}) {
    const Segment segment = [&](std::span<const Variable> x, bool record_graph) {
      const Variable weight = Variable::of(parameter_, record_graph);
      return std::vector{times(use(weight, times(use(weight, x[0]), 0.3f)), 1.7f)};
    };
    std::vector<Values> results[2];
    for (const bool is_apart : {false, true}) {
      parameter_.gradient.reset();
      WorkApart work;
      const Variable x = leaf({0.1f, 0.7f});
      const Variable y =
          recomputed ? recompute(segment, std::span(&x, 1), true)[0] : segment(std::span(&x, 1), true)[0];
      run(y, gradient({1.5f, -0.9f}), {.apart = is_apart ? &work : nullptr});
      results[is_apart] = {gradient_of(x)};
      ASSERT_EQ(work.size(), is_apart ? 2u : 0u);
      if (is_apart) {
        EXPECT_TRUE(parameter_.gradient.empty());
        EXPECT_EQ(parameter_.gradient.num_uses(), 0);
        int polls = 0;
        run_apart(std::move(work), [&] { ++polls; });
        EXPECT_EQ(polls, 2);
      }
      EXPECT_EQ(parameter_.gradient.num_uses(), 2);
      results[is_apart].push_back(parameter_gradient());
    }
    EXPECT_EQ(results[0], results[1]);
  }
}

TEST_F(ParameterGradient, OfAWeightThatAnotherOperationMadeIsNotLeftForLater) {
  WorkApart work;
  run(use(times(w(), 3), leaf({1, 1})), gradient({1, 10}), {.apart = &work});
  EXPECT_TRUE(work.empty());
  EXPECT_EQ(parameter_gradient(), (Values{3, 30}));
}

// Nothing of a weight that needs no gradient is kept.
TEST_F(ParameterGradient, WorkThatNobodyNeedsIsNotKept) {
  WorkApart work;
  const Variable x = leaf({1, 1});
  run(use(Variable::of(parameter_, false), x), gradient({1, 10}), {.apart = &work});
  EXPECT_TRUE(work.empty());
  EXPECT_EQ(gradient_of(x), (Values{1, 10}));
}

}  // namespace
}  // namespace triptych::test
