#include "ops/rotary.h"

#include "autograd/record.h"
#include "kernels/rotary.h"
#include "ops/index_rule.h"

namespace triptych::ops {
namespace {

Tensor turned(const Tensor& x, const Tensor& table, int64_t rotated, bool inverse) {
  const Tensor input = x.contiguous();
  Tensor y = Tensor::empty(input.device(), input.dtype(), input.shape());
  const int last = input.shape().rank() - 1;
  kernels::rotary(input.device().stream(), {.x = input.raw(),
                                            .y = y.raw(),
                                            .table = table.data<float>(),
                                            .batch = input.size(0),
                                            .seq = input.size(1),
                                            .parts = input.shape().product(2, last),
                                            .rotated = rotated,
                                            .cols = input.size(last),
                                            .head_dim = table.size(1),
                                            .inverse = inverse,
                                            .dtype = input.dtype()});
  return y;
}

}  // namespace

Variable rotary(const Variable& x, const Tensor& table, int64_t rotated) {
  const int rank = x.global_shape().rank();
  TRIPTYCH_CHECK(rank == 3 || rank == 4, "rotary of {}", x.global_shape().to_string());
  TRIPTYCH_CHECK(table.size(0) == x.tensor().size(1), "rotary of {} positions, the table has {}", x.tensor().size(1),
                 table.size(0));
  const IndexRule::Applied rule = IndexRule("rotary", rank == 3 ? "bsh->bsh" : "bsp!h->bsph").apply({&x});
  const Tensor angles = table.contiguous();
  return record("rotary", {x}, turned(x.tensor(), angles, rotated, false), x.global_shape(), rule.layout(),
                [rule, angles, rotated](const Gradient& dy, InputGradients& in) {
                  in.add(0, turned(dy.tensor, angles, rotated, true), rule.gradient(0, dy.layout));
                });
}

}  // namespace triptych::ops
