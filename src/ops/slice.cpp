#include "ops/slice.h"

#include "autograd/record.h"
#include "ops/index_rule.h"
#include "ops/letters.h"

namespace triptych::ops {

Variable slice(const Variable& x, int dim, int64_t begin, int64_t length) {
  const Shape global = x.global_shape().with(dim, length);
  std::string from = letters_of(global.rank()), to = from;
  to[static_cast<std::size_t>(dim)] = kNewLetter;
  from.insert(static_cast<std::size_t>(dim) + 1, "!");
  const IndexRule::Applied rule = IndexRule("slice", fmt::format("+{}->{}", from, to)).apply({&x});
  return record("slice", {x}, x.tensor().slice(dim, begin, length).contiguous(), global, rule.layout(),
                [rule, dim, begin, length, shape = x.tensor().shape()](const Gradient& dy, InputGradients& in) {
                  const Tensor dx = Tensor::zeros(dy.tensor.device(), dy.tensor.dtype(), shape);
                  dx.slice(dim, begin, length).copy_from(dy.tensor);
                  in.add(0, dx, rule.gradient(0, dy.layout));
                });
}

}  // namespace triptych::ops
