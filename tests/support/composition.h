#pragma once

#include <cmath>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/backward.h"
#include "autograd/parameter.h"
#include "autograd/record.h"
#include "ops/broadcast.h"
#include "ops/multiply.h"
#include "ops/reshape.h"
#include "ops/sum.h"
#include "ops/transpose.h"
#include "support/gradient_check.h"

namespace triptych::test {

// Fused operations against what they fuse: the same function written with plain operations, each of which is checked
// against double precision by itself.

enum class InputKind {
  kActivation,
  kWeight,  ///< a parameter that is read in the type of activations
  kVector,  ///< a parameter that stays float32
};

struct ComposedInput {
  Shape shape;
  InputKind kind = InputKind::kActivation;
  double scale = 1;
};

using Function = std::function<std::vector<Variable>(const std::vector<Variable>& inputs)>;

inline std::vector<double> doubles_of(const Tensor& tensor) {
  std::vector<double> values;
  const auto append = [&](const auto& of) {
    for (const auto value : of) values.push_back(static_cast<double>(value));
  };
  switch (tensor.dtype()) {
    case DType::kFloat64:
      append(tensor.to_vector<double>());
      break;
    case DType::kBFloat16:
      for (const BFloat16 value : tensor.to_vector<BFloat16>()) values.push_back(static_cast<float>(value));
      break;
    default:
      append(tensor.to_vector<float>());
  }
  return values;
}

inline Tensor tensor_of(Device& device, DType dtype, const Shape& shape, const std::vector<float>& values) {
  if (dtype == DType::kFloat64) {
    return Tensor::from<double>(device, shape, std::vector<double>(values.begin(), values.end()));
  }
  if (dtype == DType::kFloat32) return Tensor::from<float>(device, shape, values);
  std::vector<BFloat16> rounded;
  for (const float value : values) rounded.push_back(BFloat16(value));
  return Tensor::from<BFloat16>(device, shape, rounded);
}

/// Values that bfloat16 has, if `dtype` is that.
inline std::vector<float> random_values_of(DType dtype, const std::string& name, int64_t count, double scale = 1) {
  std::vector<float> values = random_values(name, count, scale);
  if (dtype == DType::kBFloat16) {
    for (float& value : values) value = static_cast<float>(BFloat16(value));
  }
  return values;
}

struct Outcome {
  std::vector<std::vector<double>> results, gradients;
};

/// Results and all gradients of a function of inputs whose values suit `values_of`, computed in `dtype`.
inline Outcome outcome(const Function& function, const std::vector<ComposedInput>& specs, Device& device,
                       DType values_of, DType dtype) {
  std::deque<Parameter> parameters;  // variables refer to them
  std::vector<Variable> inputs;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const auto& [shape, kind, scale] = specs[i];
    const bool is_vector = kind == InputKind::kVector;
    const std::vector<float> values = random_values_of(is_vector ? DType::kFloat32 : values_of,
                                                       "input" + std::to_string(i), shape.num_elements(), scale);
    const Tensor tensor = tensor_of(device, is_vector ? DType::kFloat32 : dtype, shape, values);
    Parameter& p = parameters.emplace_back("p" + std::to_string(i));
    p.global_shape = shape;
    p.compute = tensor;
    inputs.push_back(kind == InputKind::kActivation ? Variable::leaf(tensor, shape, Layout()) : Variable::of(p, true));
  }
  const std::vector<Variable> results = function(inputs);
  Outcome found;
  std::vector<Gradient> seeds;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const Tensor& y = results[i].tensor();
    found.results.push_back(doubles_of(y));
    const auto dy = random_values_of(values_of, "dy" + std::to_string(i), y.num_elements());
    seeds.push_back({tensor_of(device, y.dtype(), y.shape(), dy), Layout()});
  }
  backward(results, seeds, {});
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const bool is_leaf = specs[i].kind == InputKind::kActivation;
    found.gradients.push_back(
        doubles_of(is_leaf ? inputs[i].gradient()->tensor : parameters[i].gradient.value()->tensor));
  }
  return found;
}

/// The fused function in `dtype` against the composed one in float32, of the same numbers: results and all gradients.
inline void expect_composition(DType dtype, const Function& fused, const Function& composed,
                               const std::vector<ComposedInput>& specs, Device& device) {
  SCOPED_TRACE(dtype_name(dtype));
  const double bound = tolerance(dtype).summed;
  const Outcome found = outcome(fused, specs, device, dtype, dtype);
  const Outcome expected = outcome(composed, specs, device, dtype, DType::kFloat32);
  ASSERT_EQ(found.results.size(), expected.results.size());
  for (std::size_t i = 0; i < found.results.size(); ++i) {
    EXPECT_LT(relative_error(found.results[i], expected.results[i]), bound) << "result " << i;
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    EXPECT_LT(relative_error(found.gradients[i], expected.gradients[i]), bound) << "gradient of input " << i;
  }
}

/// y = f(x), element by element, on the host: where no operation of the program has it.
inline Variable elementwise(const Variable& x, double (*f)(double), double (*derivative)(double)) {
  const auto mapped = [](const Tensor& of, double (*function)(double)) {
    std::vector<float> values;
    for (const double value : doubles_of(of)) values.push_back(static_cast<float>(function(value)));
    return Tensor::from<float>(of.device(), of.shape(), values);
  };
  return record("elementwise", {x}, mapped(x.tensor(), f), x.global_shape(), x.layout(),
                [slope = mapped(x.tensor(), derivative)](const Gradient& dy, InputGradients& in) {
                  const Variable dx = multiply(Variable::constant(dy.tensor, dy.tensor.shape(), Layout()),
                                               Variable::constant(slope, slope.shape(), Layout()));
                  in.add(0, dx.tensor(), dy.layout);
                });
}

inline Variable inverse_root(const Variable& x) {
  return elementwise(
      x, [](double v) { return 1 / std::sqrt(v); }, [](double v) { return -0.5 / (v * std::sqrt(v)); });
}

/// x [...] as [..., size]: the same along a new last dim.
inline Variable repeated_last(const Variable& x, int64_t size, const Mesh& mesh) {
  std::vector<int> order;
  for (int dim = 0; dim < x.global_shape().rank(); ++dim) order.push_back(dim + 1);
  order.push_back(0);
  return transpose(broadcast(x, size, Layout(), mesh), order);
}

/// x [..., I] times w [O, I], over the last dims, as [..., O].
inline Variable product(const Variable& x, const Variable& w, const Mesh& mesh) {
  const int64_t in = x.global_shape().back(), out = w.global_shape()[0];
  const int64_t rows = x.global_shape().num_elements() / in;
  const Variable repeated = transpose(broadcast(reshape(x, Shape{rows, in}), out, Layout(), mesh), {1, 0, 2});
  std::vector<int64_t> dims = x.global_shape().to_vector();
  dims.back() = out;
  return reshape(sum(multiply(repeated, w), {2}), Shape(dims));
}

}  // namespace triptych::test
