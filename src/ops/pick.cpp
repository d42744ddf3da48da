#include "ops/pick.h"

#include "autograd/record.h"
#include "kernels/gather.h"
#include "ops/index_rule.h"

namespace triptych::ops {

Variable pick(const Variable& x, const Variable& index) {
  const IndexRule::Applied rule = IndexRule("pick", "...v!,...->...").apply({&x, &index});
  const Tensor input = x.tensor().contiguous(), numbers = index.tensor().contiguous();
  const int64_t rows = numbers.num_elements(), cols = input.shape().back();
  Tensor y = Tensor::empty(input.device(), DType::kFloat32, numbers.shape());
  kernels::pick(input.device().stream(), {.x = input.raw(),
                                          .index = numbers.data<int32_t>(),
                                          .y = y.data<float>(),
                                          .rows = rows,
                                          .cols = cols,
                                          .dtype = input.dtype()});
  return record("pick", {x}, std::move(y), rule.global_shape(), rule.layout(),
                [rule, numbers, rows, cols, shape = input.shape(), dtype = input.dtype()](const Gradient& gradient,
                                                                                          InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  const Tensor dx = Tensor::empty(dy.device(), dtype, shape);
                  pick_backward(dy.device().stream(), {.dy = dy.data<float>(),
                                                       .index = numbers.data<int32_t>(),
                                                       .dx = dx.raw(),
                                                       .rows = rows,
                                                       .cols = cols,
                                                       .dtype = dtype});
                  in.add(0, dx, rule.gradient(0, gradient.layout));
                });
}

}  // namespace triptych::ops
