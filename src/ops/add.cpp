#include "ops/add.h"

#include "kernels/strided.h"
#include "ops/trailing.h"

namespace triptych::ops {

Variable add(const Variable& a, const Variable& b) {
  const IndexRule::Applied rule = trailing_rule("add", a, b, true);
  return record("add", {a, b}, combine(add_strided, a.tensor(), b.tensor().to(a.dtype()).contiguous()),
                a.global_shape(), rule.layout(),
                [rule, b_rank = b.global_shape().rank(), b_dtype = b.dtype()](const Gradient& dy, InputGradients& in) {
                  if (in.needed(1)) {
                    add_trailing_gradient(dy.tensor, b_rank, b_dtype, rule.gradient(1, dy.layout), in);
                  }
                  in.add(0, dy.tensor, rule.gradient(0, dy.layout));
                });
}

}  // namespace triptych::ops
