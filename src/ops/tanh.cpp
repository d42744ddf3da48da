#include "ops/tanh.h"

#include "autograd/record.h"
#include "kernels/tanh.h"
#include "ops/index_rule.h"

namespace triptych::ops {

Variable tanh(const Variable& x) {
  const IndexRule::Applied rule = IndexRule("tanh", "...->...").apply({&x});
  const Tensor input = x.tensor().contiguous();
  const Tensor y = Tensor::empty(input.device(), input.dtype(), input.shape());
  tanh_forward(input.device().stream(), input.raw(), y.raw(), input.num_elements(), input.dtype());
  return record(
      "tanh", {x}, y, x.global_shape(), rule.layout(), [rule, y](const Gradient& gradient, InputGradients& in) {
        const Tensor dy = gradient.tensor.contiguous();
        const Tensor dx = Tensor::empty(dy.device(), dy.dtype(), dy.shape());
        tanh_backward(dy.device().stream(),
                      {.y = y.raw(), .dy = dy.raw(), .dx = dx.raw(), .n = y.num_elements(), .dtype = y.dtype()});
        in.add(0, dx, rule.gradient(0, gradient.layout));
      });
}

}  // namespace triptych::ops
