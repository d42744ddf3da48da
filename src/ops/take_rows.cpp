#include "ops/take_rows.h"

#include "autograd/record.h"
#include "kernels/gather.h"
#include "ops/index_rule.h"

namespace triptych::ops {

Variable take_rows(const Variable& x, const Tensor& sources) {
  const IndexRule::Applied rule = IndexRule("take_rows", "...->...").apply({&x});
  const Tensor input = x.tensor().contiguous(), numbers = sources.contiguous();
  const int64_t num_rows = input.size(0);
  TRIPTYCH_CHECK(numbers.num_elements() == num_rows, "{} sources of {} rows", numbers.num_elements(), num_rows);
  // All rows are the tokens of one sequence.
  const GatheredTokens tokens{.index = numbers.data<int32_t>(),
                              .batch = 1,
                              .seq = num_rows,
                              .count = num_rows,
                              .cols = num_rows == 0 ? 0 : input.num_elements() / num_rows};
  Tensor y = Tensor::empty(input.device(), input.dtype(), input.shape());
  gather_tokens(input.device().stream(),
                {.x = input.raw(), .out = y.raw(), .tokens = tokens, .dtype = input.dtype(), .out_dtype = y.dtype()});
  return record(
      "take_rows", {x}, std::move(y), rule.global_shape(), rule.layout(),
      [rule, numbers, tokens, shape = input.shape()](const Gradient& gradient, InputGradients& in) {
        const Tensor dy = gradient.tensor.contiguous();
        const Tensor dx = Tensor::empty(dy.device(), dy.dtype(), shape);
        gather_tokens_backward(
            dy.device().stream(),
            {.dout = dy.raw(), .dx = dx.raw(), .tokens = tokens, .dtype = dx.dtype(), .out_dtype = dy.dtype()});
        in.add(0, dx, rule.gradient(0, gradient.layout));
      });
}

}  // namespace triptych::ops
