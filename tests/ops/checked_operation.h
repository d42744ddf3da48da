#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "support/gradient_check.h"

// Operations on tensors of every type, contiguous and not, against double precision and its central differences.

namespace triptych::test {

using Rows = std::vector<double>;
using Index = std::vector<int32_t>;

inline Rows doubles(const Tensor& tensor) {
  Rows values;
  if (tensor.dtype() == DType::kBFloat16) {
    for (const BFloat16 value : tensor.to_vector<BFloat16>()) values.push_back(static_cast<float>(value));
  } else {
    for (const float value : tensor.to_vector<float>()) values.push_back(value);
  }
  return values;
}

/// The values as a view: NaN lies between the rows.
template <typename T>
Tensor strided(Device& device, const Shape& shape, const std::vector<float>& values) {
  if (shape.rank() == 0) return Tensor::from<T>(device, shape, std::vector<T>{T(values[0])});
  const int64_t cols = shape.back(), width = cols + 3;
  std::vector<T> wide;
  for (int64_t i = 0; i < shape.product(0, shape.rank() - 1) * width; ++i) {
    const int64_t row = i / width, col = i % width - 1;
    const bool is_here = col >= 0 && col < cols;
    wide.push_back(
        T(is_here ? values[static_cast<std::size_t>(row * cols + col)] : std::numeric_limits<float>::quiet_NaN()));
  }
  return Tensor::from<T>(device, shape.with(shape.rank() - 1, width), wide).slice(shape.rank() - 1, 1, cols);
}

inline Tensor strided(Device& device, DType dtype, const Shape& shape, const std::vector<float>& values) {
  return dtype == DType::kBFloat16 ? strided<BFloat16>(device, shape, values) : strided<float>(device, shape, values);
}

/// As check_gradients, in `dtype` but for parameters, which are float32, and with views in place of all tensors. The
/// reference gets what the operation gets, rounded.
inline void check_views(DType dtype, const Operation& operation, const Reference& reference,
                        const std::vector<CheckedInput>& specs) {
  SCOPED_TRACE(dtype_name(dtype));
  const double bound = tolerance(dtype).summed;
  OneRank rank;
  std::vector<Variable> variables;
  std::vector<Rows> inputs;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const Shape& shape = specs[i].shape;
    const std::vector<float> values = random_values("input" + std::to_string(i), shape.num_elements(), specs[i].scale);
    const Tensor tensor = strided(rank.device, specs[i].is_parameter ? DType::kFloat32 : dtype, shape, values);
    variables.push_back(Variable::leaf(tensor, shape, Layout()));
    inputs.push_back(doubles(tensor));
  }
  const Variable y = operation(variables);
  EXPECT_TRUE(y.tensor().is_contiguous() || y.tensor().num_elements() == 0);
  EXPECT_EQ(y.tensor().shape(), y.global_shape());
  EXPECT_LT(relative_error(doubles(y.tensor()), reference(inputs)), bound) << "forward";

  const Gradient seed{strided(rank.device, y.dtype(), y.global_shape(), random_values("dy", y.tensor().num_elements())),
                      Layout()};
  const Rows dy = doubles(seed.tensor);
  backward(std::span(&y, 1), std::span(&seed, 1), {});
  for (std::size_t i = 0; i < specs.size(); ++i) {
    EXPECT_LT(relative_error(doubles(variables[i].gradient()->tensor), reference_gradient(reference, inputs, i, dy)),
              bound)
        << "gradient of input " << i;
  }
}

inline void check(const Operation& operation, const Reference& reference, const std::vector<CheckedInput>& specs) {
  check_gradients(operation, reference, specs);
  check_views(DType::kFloat32, operation, reference, specs);
  check_views(DType::kBFloat16, operation, reference, specs);
}

inline Variable index_of(Device& device, const Shape& shape, const Index& values) {
  return Variable::constant(Tensor::from<int32_t>(device, shape, values), shape, Layout());
}

}  // namespace triptych::test
