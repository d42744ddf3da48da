#include "ops/repeat_heads.h"

#include "autograd/record.h"
#include "ops/index_rule.h"
#include "ops/views.h"

namespace triptych::ops {

Variable repeat_heads(const Variable& x, int64_t times, int64_t head_dim) {
  const IndexRule::Applied rule = IndexRule("repeat_heads", "...h->...h").apply({&x});
  const Tensor input = x.tensor().contiguous();
  const Shape shape = input.shape();
  const int last = shape.rank() - 1;
  TRIPTYCH_CHECK(times > 0 && head_dim > 0 && shape[last] % head_dim == 0, "repeat_heads: {} columns here, heads of {}",
                 shape[last], head_dim);
  const int64_t rows = shape.product(0, last), heads = shape[last] / head_dim;
  const Tensor copies = packed({input, {rows, heads, times, head_dim}, {shape[last], head_dim, 0, 1}});
  const Shape global = x.global_shape().with(last, times * x.global_shape()[last]);
  return record("repeat_heads", {x}, copies.view(shape.with(last, times * shape[last])), global, rule.layout(),
                [rule, shape, rows, heads, times, head_dim](const Gradient& dy, InputGradients& in) {
                  const int64_t of_head = times * head_dim;
                  const Tensor sum = sum_last(
                      {dy.tensor.contiguous(), {rows, heads, head_dim, times}, {heads * of_head, of_head, 1, head_dim}},
                      3, 1.0f);
                  in.add(0, sum.view(shape), rule.gradient(0, dy.layout));
                });
}

}  // namespace triptych::ops
