#include "models/box_head.h"

#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "ops/add.h"
#include "ops/linear.h"
#include "ops/sigmoid.h"

namespace triptych::models {

Tensor patch_places(Device& device, int64_t patches_a_side) {
  const auto before_sigmoid = [](double share) { return static_cast<float>(std::log(share / (1 - share))); };
  const auto center = [&](int64_t patch) {
    return before_sigmoid((static_cast<double>(patch) + 0.5) / static_cast<double>(patches_a_side));
  };
  const float side = before_sigmoid(1.0 / 3);
  std::vector<float> places;
  for (int64_t row = 0; row < patches_a_side; ++row) {
    for (int64_t column = 0; column < patches_a_side; ++column) {
      places.insert(places.end(), {center(column), center(row), side, side});
    }
  }
  return Tensor::from<float>(device, Shape{patches_a_side * patches_a_side, 4}, places);
}

BoxHead::BoxHead(ParameterStore& store, const std::string& name, int64_t width) {
  const auto make = [&](int number, int64_t outputs) {
    const std::string part = fmt::format("{}.{}", name, number);
    return Product{&store.create(part + ".weight", Shape{outputs, width}, "replicated", linear_matrix(width)),
                   &store.create(part + ".bias", Shape{outputs}, "replicated", {})};
  };
  first_ = make(0, width);
  second_ = make(1, width);
  last_ = make(2, 4);
}

Variable BoxHead::forward(const Variable& x, const Variable& places, const Pass& pass) const {
  const auto next = [&](const Variable& h, const Product& product, DType dtype) {
    return add(activated_linear(h, pass.use(*product.weight), Activation::kGelu, dtype), pass.use(*product.bias));
  };
  const Variable h = linear(x, pass.use(*first_.weight), pass.use(*first_.bias), pass.dtype);
  const Variable y = next(next(h, second_, pass.dtype), last_, DType::kFloat32);
  return sigmoid(add(y, places));
}

}  // namespace triptych::models
