#include "ops/multiply.h"

#include "kernels/strided.h"
#include "ops/trailing.h"

namespace triptych::ops {

Variable multiply(const Variable& a, const Variable& b) {
  const IndexRule::Applied rule = trailing_rule("multiply", a, b, false);
  const Tensor factor = b.tensor().to(a.dtype()).contiguous();
  return record("multiply", {a, b}, combine(multiply_strided, a.tensor(), factor), a.global_shape(), rule.layout(),
                [rule, a = a.tensor(), factor, b_dtype = b.dtype()](const Gradient& dy, InputGradients& in) {
                  if (in.needed(0)) {
                    in.add(0, combine(multiply_strided, dy.tensor, factor), rule.gradient(0, dy.layout));
                  }
                  if (in.needed(1)) {
                    add_trailing_gradient(combine(multiply_strided, dy.tensor, a), factor.shape().rank(), b_dtype,
                                          rule.gradient(1, dy.layout), in);
                  }
                });
}

}  // namespace triptych::ops
