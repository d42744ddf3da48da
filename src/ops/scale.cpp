#include "ops/scale.h"

#include "autograd/record.h"
#include "kernels/elementwise.h"
#include "ops/index_rule.h"

namespace triptych::ops {
namespace {

Tensor scaled(const Tensor& x, float factor) {
  const Tensor input = x.contiguous(), result = Tensor::empty(x.device(), x.dtype(), x.shape());
  kernels::scale(x.device().stream(), input.raw(), result.raw(), factor, x.num_elements(), x.dtype());
  return result;
}

}  // namespace

Variable scale(const Variable& x, float factor) {
  const IndexRule::Applied rule = IndexRule("scale", "+...->...").apply({&x});
  return record("scale", {x}, scaled(x.tensor(), factor), x.global_shape(), rule.layout(),
                [rule, factor](const Gradient& dy, InputGradients& in) {
                  in.add(0, scaled(dy.tensor, factor), rule.gradient(0, dy.layout));
                });
}

}  // namespace triptych::ops
