#include "models/box_head.h"

#include <fmt/format.h>

#include "ops/add.h"
#include "ops/linear.h"
#include "ops/sigmoid.h"

namespace triptych::models {

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
  return sigmoid(places.defined() ? add(y, places) : y);
}

}  // namespace triptych::models
