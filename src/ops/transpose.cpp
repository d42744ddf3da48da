#include "ops/transpose.h"

#include "ops/index_rule.h"
#include "ops/letters.h"
#include "ops/views.h"

namespace triptych::ops {

Variable transpose(const Variable& x, const std::vector<int>& permutation) {
  const std::string letters = letters_of(x.global_shape().rank());
  std::vector<int> inverse(letters.size(), -1);
  std::string moved;
  for (const int dim : permutation) {
    const bool fits = dim >= 0 && static_cast<std::size_t>(dim) < letters.size() && moved.size() < letters.size();
    TRIPTYCH_CHECK(fits && inverse[static_cast<std::size_t>(dim)] < 0, "transpose: {} of {} as dim {}", dim,
                   x.global_shape().to_string(), moved.size());
    inverse[static_cast<std::size_t>(dim)] = static_cast<int>(moved.size());
    moved += letters[static_cast<std::size_t>(dim)];
  }
  TRIPTYCH_CHECK(moved.size() == letters.size(), "transpose: {} of the dims of {}", moved.size(),
                 x.global_shape().to_string());
  const IndexRule::Applied rule = IndexRule("transpose", fmt::format("+{}->{}", letters, moved)).apply({&x});
  return record("transpose", {x}, packed(permuted(x.tensor(), permutation)), rule.global_shape(), rule.layout(),
                [rule, inverse](const Gradient& dy, InputGradients& in) {
                  in.add(0, packed(permuted(dy.tensor, inverse)), rule.gradient(0, dy.layout));
                });
}

}  // namespace triptych::ops
