#include "ops/repeat_heads.h"

#include "autograd/record.h"
#include "ops/index_rule.h"
#include "ops/views.h"

namespace triptych::ops {

Tensor repeated_heads(const Tensor& x, int64_t times, int64_t head_dim) {
  const Tensor input = x.contiguous();
  const Shape shape = input.shape();
  const int last = shape.rank() - 1;
  const int64_t rows = shape.product(0, last), heads = shape[last] / head_dim;
  const Tensor copies = packed({input, {rows, heads, times, head_dim}, {shape[last], head_dim, 0, 1}});
  return copies.view(shape.with(last, times * shape[last]));
}

Tensor summed_heads(const Tensor& x, int64_t times, int64_t head_dim) {
  const Tensor input = x.contiguous();
  const Shape shape = input.shape();
  const int last = shape.rank() - 1;
  const int64_t rows = shape.product(0, last), of_head = times * head_dim, heads = shape[last] / of_head;
  const Tensor sum =
      sum_last({input, {rows, heads, head_dim, times}, {heads * of_head, of_head, 1, head_dim}}, 3, 1.0f);
  return sum.view(shape.with(last, heads * head_dim));
}

Variable repeat_heads(const Variable& x, int64_t times, int64_t head_dim) {
  const IndexRule::Applied rule = IndexRule("repeat_heads", "...h->...h").apply({&x});
  const Shape shape = x.tensor().shape();
  const int last = shape.rank() - 1;
  TRIPTYCH_CHECK(times > 0 && head_dim > 0 && shape[last] % head_dim == 0, "repeat_heads: {} columns here, heads of {}",
                 shape[last], head_dim);
  const Shape global = x.global_shape().with(last, times * x.global_shape()[last]);
  return record("repeat_heads", {x}, repeated_heads(x.tensor(), times, head_dim), global, rule.layout(),
                [rule, times, head_dim](const Gradient& dy, InputGradients& in) {
                  in.add(0, summed_heads(dy.tensor, times, head_dim), rule.gradient(0, dy.layout));
                });
}

}  // namespace triptych::ops
