#include "ops/reshape.h"

#include <vector>

#include "autograd/record.h"
#include "ops/index_rule.h"
#include "ops/letters.h"

namespace triptych::ops {
namespace {

// For each dim of `to` the dim of `from` that it is: of one size and with one product of the dims before it; else -1.
std::vector<int> survivors(const Shape& from, const Shape& to) {
  std::vector<int> found(static_cast<std::size_t>(to.rank()), -1);
  int next = 0;
  for (int dim = 0; dim < from.rank(); ++dim) {
    for (int i = next; i < to.rank(); ++i) {
      if (to[i] != from[dim] || to.product(0, i) != from.product(0, dim)) continue;
      found[static_cast<std::size_t>(i)] = dim;
      next = i + 1;
      break;
    }
  }
  return found;
}

}  // namespace

Variable reshape(const Variable& x, const Shape& shape) {
  const Shape& from = x.global_shape();
  TRIPTYCH_CHECK(from.num_elements() == shape.num_elements(), "reshape: {} as {}", from.to_string(), shape.to_string());
  const std::vector<int> found = survivors(from, shape);
  const std::string letters = letters_of(from.rank());
  std::string whole = letters, result(found.size(), kNewLetter);
  Shape local = shape;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i] < 0) continue;
    result[i] = letters[static_cast<std::size_t>(found[i])];
    std::erase(whole, result[i]);
    local[static_cast<int>(i)] = x.tensor().size(found[i]);
  }
  std::string operand;
  for (const char letter : letters) {
    operand += letter;
    if (whole.find(letter) != std::string::npos) operand += '!';
  }
  const IndexRule::Applied rule = IndexRule("reshape", fmt::format("+{}->{}", operand, result)).apply({&x});
  return record("reshape", {x}, x.tensor().contiguous().view(local), shape, rule.layout(),
                [rule, before = x.tensor().shape()](const Gradient& dy, InputGradients& in) {
                  in.add(0, dy.tensor.contiguous().view(before), rule.gradient(0, dy.layout));
                });
}

}  // namespace triptych::ops
