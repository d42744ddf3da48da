#include "ops/concatenate.h"

#include "autograd/record.h"
#include "ops/index_rule.h"
#include "ops/letters.h"

namespace triptych::ops {
namespace {

// All share the letter of `dim`, so for the rule it has one size in all.
IndexRule::Applied rule_of(const std::vector<Variable>& xs, int dim) {
  std::vector<Shape> shapes;
  for (const Variable& x : xs) shapes.push_back(x.global_shape().with(dim, 1));
  std::string from = letters_of(shapes[0].rank()), to = from, rule;
  to[static_cast<std::size_t>(dim)] = kNewLetter;
  from.insert(static_cast<std::size_t>(dim) + 1, "!");
  std::vector<IndexRule::Operand> operands;
  for (std::size_t i = 0; i < xs.size(); ++i) {
    operands.push_back({shapes[i], xs[i].layout()});
    rule += (i == 0 ? "+" : ",+") + from;
  }
  return IndexRule("concatenate", rule + "->" + to).apply(operands);
}

}  // namespace

Variable concatenate(const std::vector<Variable>& xs, int dim) {
  TRIPTYCH_CHECK(!xs.empty(), "concatenate: no operands");
  const IndexRule::Applied rule = rule_of(xs, dim);
  const Tensor& first = xs[0].tensor();
  std::vector<int64_t> lengths;
  int64_t total = 0;
  for (const Variable& x : xs) {
    TRIPTYCH_CHECK(x.dtype() == first.dtype(), "concatenate: {} and {}", dtype_name(first.dtype()),
                   dtype_name(x.dtype()));
    lengths.push_back(x.tensor().size(dim));
    total += lengths.back();
  }
  const Tensor y = Tensor::empty(first.device(), first.dtype(), first.shape().with(dim, total));
  int64_t begin = 0;
  for (std::size_t i = 0; i < xs.size(); begin += lengths[i], ++i) {
    y.slice(dim, begin, lengths[i]).copy_from(xs[i].tensor());
  }
  return record("concatenate", xs, y, xs[0].global_shape().with(dim, total), rule.layout(),
                [rule, dim, lengths](const Gradient& dy, InputGradients& in) {
                  int64_t at = 0;
                  for (std::size_t i = 0; i < lengths.size(); at += lengths[i], ++i) {
                    const int input = static_cast<int>(i);
                    if (!in.needed(input)) continue;
                    in.add(input, dy.tensor.slice(dim, at, lengths[i]).contiguous(), rule.gradient(i, dy.layout));
                  }
                });
}

}  // namespace triptych::ops
