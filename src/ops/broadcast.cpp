#include "ops/broadcast.h"

#include <array>
#include <numeric>

#include "ops/index_rule.h"
#include "ops/letters.h"
#include "ops/views.h"

namespace triptych::ops {

Variable broadcast(const Variable& x, int64_t size, const Layout& layout, const Mesh& mesh) {
  const Shape repeats{size};
  Layout first;
  for (const Axis axis : kAxes) {
    if (layout[axis].is_shard(0)) first = first.with(axis, layout[axis]);
  }
  // The new dim enters the rule as an operand with that dim alone.
  const std::string letters = letters_of(x.global_shape().rank());
  const std::array operands{IndexRule::Operand{repeats, first}, IndexRule::Operand{x.global_shape(), x.layout()}};
  const IndexRule::Applied rule =
      IndexRule("broadcast", fmt::format("{0},{1}->{0}{1}", kNewLetter, letters)).apply(operands);

  std::vector<int64_t> dims{local_shape(repeats, first, mesh)[0]};
  dims.insert(dims.end(), x.tensor().shape().begin(), x.tensor().shape().end());
  return record("broadcast", {x}, packed(repeated(x.tensor(), Shape(dims))), rule.global_shape(), rule.layout(),
                [rule, rank = x.global_shape().rank()](const Gradient& dy, InputGradients& in) {
                  std::vector<int> order(static_cast<std::size_t>(rank) + 1, 0);
                  std::iota(order.begin(), order.end() - 1, 1);
                  add_sum_last(permuted(dy.tensor, order), rank, rule.gradient(1, dy.layout), 0, in);
                });
}

}  // namespace triptych::ops
