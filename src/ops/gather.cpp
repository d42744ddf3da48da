#include "ops/gather.h"

#include "autograd/record.h"
#include "kernels/gather.h"
#include "ops/index_rule.h"

namespace triptych::ops {

Variable gather(const Variable& x, const Variable& index) {
  const IndexRule::Applied rule = IndexRule("gather", "bs!h,bk->bkh").apply({&x, &index});
  const Tensor input = x.tensor().contiguous(), numbers = index.tensor().contiguous();
  const auto tokens = [numbers](const Shape& shape) {
    return GatheredTokens{.index = numbers.data<int32_t>(),
                          .batch = shape[0],
                          .seq = shape[1],
                          .count = numbers.size(1),
                          .cols = shape[2]};
  };
  Tensor y = Tensor::empty(input.device(), input.dtype(), Shape{input.size(0), numbers.size(1), input.size(2)});
  gather_tokens(input.device().stream(), {.x = input.raw(),
                                          .out = y.raw(),
                                          .tokens = tokens(input.shape()),
                                          .dtype = input.dtype(),
                                          .out_dtype = y.dtype()});
  return record(
      "gather", {x}, std::move(y), rule.global_shape(), rule.layout(),
      [rule, tokens, shape = input.shape()](const Gradient& gradient, InputGradients& in) {
        const Tensor dy = gradient.tensor.contiguous();
        const Tensor dx = Tensor::empty(dy.device(), dy.dtype(), shape);
        gather_tokens_backward(
            dy.device().stream(),
            {.dout = dy.raw(), .dx = dx.raw(), .tokens = tokens(shape), .dtype = dx.dtype(), .out_dtype = dy.dtype()});
        in.add(0, dx, rule.gradient(0, gradient.layout));
      });
}

}  // namespace triptych::ops
