#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "optim/adamw.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

Parameter make_parameter(Device& device, const std::string& name) {
  Parameter p(name);
  p.global_shape = Shape{5};
  p.value = p.compute = Tensor::from<float>(device, Shape{5}, random_values(name, 5));
  p.reduced = Tensor::empty(device, DType::kFloat32, Shape{5});
  return p;
}

std::vector<double> doubles(const Tensor& tensor) {
  const std::vector<float> values = tensor.to_vector<float>();
  return {values.begin(), values.end()};
}

// By hand, from what the parameters were after each update: 0.75 of what it was and a quarter of what they are.
TEST(WeightAverageTest, FollowsTheParametersFromTheirFirstUpdateOn) {
  OneRank rank;
  std::vector<Parameter> parameters;
  for (const char* name : {"trained", "thawed", "frozen"}) parameters.push_back(make_parameter(rank.device, name));
  std::vector<Parameter*> all;
  for (Parameter& p : parameters) all.push_back(&p);
  const NamedParameter named[] = {{"trained"}, {"thawed"}, {"frozen"}};
  const Treatments treatments(
      {.groups = {{.pattern = "thawed", .frozen = true, .thaw_step = 2}, {.pattern = "frozen", .frozen = true}}},
      named);
  AdamW optimizer(rank.device, all, {.average_decay = 0.75}, treatments);
  EXPECT_FALSE(optimizer.states()[1].average.defined()) << "nothing is kept of what is frozen";
  std::vector<std::vector<double>> expected;
  for (const Parameter& p : parameters) expected.push_back(doubles(p.value));
  constexpr int kSkipped = 3;
  for (int i = 0; i < 6; ++i) {
    if (treatments.thaws_at(i)) optimizer.thaw(i);
    for (Parameter& p : parameters) {
      p.is_trained = treatments.is_trained(p.name, i);
      const std::vector<float> g = random_values(p.name + std::to_string(i), 5);
      std::copy(g.begin(), g.end(), p.reduced.data<float>());
    }
    const double loss = i == kSkipped ? std::numeric_limits<double>::quiet_NaN() : 1;
    const Tensor numbers = Tensor::from<double>(rank.device, Shape{3}, std::vector<double>{loss, 1, 0});
    double* at = numbers.data<double>();
    optimizer.step(0.5, at, at + 1, at + 2);
    for (std::size_t k = 0; k < 2; ++k) {
      if (!parameters[k].is_trained || i == kSkipped) continue;
      const std::vector<double> now = doubles(parameters[k].value);
      for (std::size_t e = 0; e < now.size(); ++e) expected[k][e] = 0.75 * expected[k][e] + 0.25 * now[e];
    }
    for (std::size_t k = 0; k < 2; ++k) {
      const Tensor& average = optimizer.states()[k].average;
      if (!average.defined()) continue;
      EXPECT_LT(relative_error(average.to_vector<float>(), expected[k]), tolerance(DType::kFloat32).local)
          << parameters[k].name << " after " << i;
      EXPECT_GT(relative_error(average.to_vector<float>(), doubles(parameters[k].value)), 0.01) << "it lags behind";
    }
  }
  EXPECT_TRUE(optimizer.states()[1].average.defined());
  EXPECT_FALSE(optimizer.states()[2].average.defined());
  AdamW without(rank.device, all, {}, treatments);
  EXPECT_FALSE(without.states()[0].average.defined()) << "none was asked for";
}

}  // namespace
}  // namespace triptych::test
