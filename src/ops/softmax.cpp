#include "ops/softmax.h"

#include "autograd/record.h"
#include "kernels/softmax.h"
#include "ops/index_rule.h"

namespace triptych::ops {
namespace {

using Forward = void (*)(Stream&, const SoftmaxForwardArgs&);
using Backward = void (*)(Stream&, const SoftmaxBackwardArgs&);

Variable by_rows(std::string_view name, const Variable& x, Forward forward, Backward backward) {
  const IndexRule::Applied rule = IndexRule(name, "...v!->...v").apply({&x});
  const Tensor input = x.tensor().contiguous(), y = Tensor::empty(input.device(), input.dtype(), input.shape());
  const int64_t cols = y.shape().back(), rows = y.shape().product(0, y.shape().rank() - 1);
  forward(y.device().stream(), {.x = input.raw(), .y = y.raw(), .rows = rows, .cols = cols, .dtype = y.dtype()});
  return record(name, {x}, y, x.global_shape(), rule.layout(),
                [rule, y, rows, cols, backward](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  const Tensor dx = Tensor::empty(dy.device(), dy.dtype(), dy.shape());
                  backward(
                      dy.device().stream(),
                      {.dy = dy.raw(), .y = y.raw(), .dx = dx.raw(), .rows = rows, .cols = cols, .dtype = y.dtype()});
                  in.add(0, dx, rule.gradient(0, gradient.layout));
                });
}

}  // namespace

Variable softmax(const Variable& x) {
  return by_rows("softmax", x, softmax_forward, softmax_backward);
}

Variable log_softmax(const Variable& x) {
  return by_rows("log_softmax", x, log_softmax_forward, log_softmax_backward);
}

}  // namespace triptych::ops
