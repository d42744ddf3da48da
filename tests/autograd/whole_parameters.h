#pragma once

#include <memory>
#include <string>

#include "autograd/gradient_use.h"

// Parameters that every rank has whole, for tests of what all-reduces their gradients.

namespace triptych::test {

constexpr int kParameters = 7;

inline std::unique_ptr<Parameter> make_parameter(Device& device, const std::string& name, const Shape& shape) {
  auto p = std::make_unique<Parameter>(name);
  p->global_shape = shape;
  p->value = p->compute = Tensor::zeros(device, DType::kFloat32, shape);
  return p;
}

// A rank's parameters p0 .. p6 of 1, 4, 7, ... elements.
inline Owned make_parameters(Device& device) {
  Owned parameters;
  for (int i = 0; i < kParameters; ++i) {
    parameters.push_back(make_parameter(device, "p" + std::to_string(i), Shape{1 + 3 * i}));
  }
  return parameters;
}

inline const Layout kOverDp = Layout().with(Axis::kDp, Placement::partial());
inline const Layout kOverTp = Layout().with(Axis::kTp, Placement::partial());

inline float first_of(const Parameter& parameter) {
  return parameter.gradient.tensor().to_vector<float>()[0];
}

}  // namespace triptych::test
