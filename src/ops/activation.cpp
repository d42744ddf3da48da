#include "ops/activation.h"

#include <vector>

#include "autograd/record.h"
#include "ops/index_rule.h"

namespace triptych::ops {
std::string_view activation_name(Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return "gelu";
    case Activation::kGeluTanh:
      return "gelu_tanh";
    case Activation::kGeluQuick:
      return "gelu_quick";
    case Activation::kSwiglu:
      return "swiglu";
  }
  throw InternalError("activation", "no such activation");
}

Variable activate(const Variable& h, Activation activation) {
  const std::string_view name = activation_name(activation);
  const bool gated = is_gated(activation);
  const IndexRule::Applied rule = IndexRule(name, gated ? "...n!f->...f" : "...->...").apply({&h});
  const Tensor input = h.tensor().contiguous();
  Shape shape = input.shape();
  int64_t rows = 1, cols = shape.num_elements();
  if (gated) {
    const int last = shape.rank() - 1;
    TRIPTYCH_CHECK(shape[last - 1] == 2, "{} of {}: a gate and what it multiplies", name, shape.to_string());
    rows = shape.product(0, last - 1);
    cols = shape[last];
    std::vector<int64_t> dims(shape.begin(), shape.begin() + last - 1);
    dims.push_back(cols);
    shape = Shape(dims);
  }
  Tensor y = Tensor::empty(input.device(), input.dtype(), shape);
  activation_forward(
      input.device().stream(),
      {.h = input.raw(), .a = y.raw(), .rows = rows, .cols = cols, .activation = activation, .dtype = input.dtype()});
  return record(name, {h}, std::move(y), rule.global_shape(), rule.layout(),
                [rule, input, rows, cols, activation](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  const Tensor dh = Tensor::empty(dy.device(), dy.dtype(), input.shape());
                  activation_backward(dy.device().stream(), {.h = input.raw(),
                                                             .da = dy.raw(),
                                                             .dh = dh.raw(),
                                                             .rows = rows,
                                                             .cols = cols,
                                                             .activation = activation,
                                                             .dtype = input.dtype()});
                  in.add(0, dh, rule.gradient(0, gradient.layout));
                });
}

}  // namespace triptych::ops
