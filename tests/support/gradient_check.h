#pragma once

#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "autograd/parameter.h"
#include "autograd/variable.h"
#include "base/philox.h"
#include "support/one_rank.h"
#include "support/tolerance.h"

namespace triptych::test {

/// An operation's forward in double precision, written for the test: values of all inputs to values of the output.
using Reference = std::function<std::vector<double>(const std::vector<std::vector<double>>& inputs)>;
/// The operation itself.
using Operation = std::function<Variable(const std::vector<Variable>& inputs)>;

struct CheckedInput {
  Shape shape;
  bool is_parameter = false;
  double scale = 1;
};

/// Random values that depend on `name` alone.
inline std::vector<float> random_values(const std::string& name, int64_t count, double scale = 1) {
  std::vector<float> values;
  const RandomKey key = random_key(99, name, 0);
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<float>(scale * philox_normal(key, static_cast<uint64_t>(i))));
  }
  return values;
}

/// The gradient of sum(dy * reference(inputs)) with respect to inputs[of]: central differences, whose error is about
/// 1e-9.
inline std::vector<double> reference_gradient(const Reference& reference, std::vector<std::vector<double>> inputs,
                                              std::size_t of, const std::vector<double>& dy) {
  const auto objective = [&] {
    const std::vector<double> values = reference(inputs);
    return std::inner_product(values.begin(), values.end(), dy.begin(), 0.0);
  };
  std::vector<double> gradient;
  for (double& x : inputs[of]) {
    const double saved = x, h = 1e-5;
    x = saved + h;
    const double up = objective();
    x = saved - h;
    gradient.push_back((up - objective()) / (2 * h));
    x = saved;
  }
  return gradient;
}

/// Compares the operation's result with `reference`, and the gradient of sum(dy * y) for a random dy, of every input,
/// with central differences of `reference` in double.
inline void check_gradients(const Operation& operation, const Reference& reference,
                            const std::vector<CheckedInput>& specs) {
  const double bound = tolerance(DType::kFloat32).summed;
  OneRank rank;
  std::vector<Parameter> parameters;
  parameters.reserve(specs.size());  // variables refer to them
  std::vector<Variable> variables;
  std::vector<std::vector<double>> inputs;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const std::vector<float> values =
        random_values("input" + std::to_string(i), specs[i].shape.num_elements(), specs[i].scale);
    inputs.emplace_back(values.begin(), values.end());
    const Tensor tensor = Tensor::from<float>(rank.device, specs[i].shape, values);
    Parameter& p = parameters.emplace_back("p" + std::to_string(i));
    if (specs[i].is_parameter) {
      p.global_shape = specs[i].shape;
      p.value = p.compute = tensor;
      variables.push_back(Variable::of(p, true));
    } else {
      variables.push_back(Variable::leaf(tensor, specs[i].shape, Layout()));
    }
  }
  const Variable y = operation(variables);
  const std::vector<double> expected = reference(inputs);
  EXPECT_LT(relative_error(y.tensor().to_vector<float>(), expected), bound) << "forward";

  const std::vector<float> dy = random_values("dy", y.tensor().num_elements());
  const Gradient seed{Tensor::from<float>(rank.device, y.tensor().shape(), dy), y.layout()};
  backward(std::span(&y, 1), std::span(&seed, 1), {});
  const std::vector<double> weights(dy.begin(), dy.end());
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const Tensor gradient = specs[i].is_parameter ? parameters[i].gradient.tensor() : variables[i].gradient()->tensor;
    EXPECT_LT(relative_error(gradient.to_vector<float>(), reference_gradient(reference, inputs, i, weights)), bound)
        << "gradient of input " << i;
  }
}

}  // namespace triptych::test
