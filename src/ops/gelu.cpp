#include "ops/gelu.h"

#include "autograd/record.h"
#include "kernels/gelu.h"
#include "ops/index_rule.h"

namespace triptych::ops {

Variable gelu(const Variable& h) {
  const IndexRule::Applied rule = IndexRule("gelu", "...->...").apply({&h});
  const Tensor input = h.tensor().contiguous();
  Tensor y = Tensor::empty(input.device(), input.dtype(), input.shape());
  gelu_forward(input.device().stream(), input.raw(), y.raw(), input.num_elements(), input.dtype());
  return record(
      "gelu", {h}, std::move(y), h.global_shape(), rule.layout(),
      [rule, input](const Gradient& gradient, InputGradients& in) {
        const Tensor dy = gradient.tensor.contiguous();
        const Tensor dh = Tensor::empty(dy.device(), dy.dtype(), dy.shape());
        gelu_backward(
            dy.device().stream(),
            {.h = input.raw(), .da = dy.raw(), .dh = dh.raw(), .n = input.num_elements(), .dtype = input.dtype()});
        in.add(0, dh, rule.gradient(0, gradient.layout));
      });
}

}  // namespace triptych::ops
