#include "ops/sum_of_losses.h"

#include "autograd/record.h"
#include "kernels/scalars.h"
#include "ops/index_rule.h"

namespace triptych::ops {

Variable sum_of_losses(const std::vector<Variable>& losses) {
  TRIPTYCH_CHECK(!losses.empty(), "sum_of_losses: no operands");
  std::vector<IndexRule::Operand> operands;
  std::string text;
  for (const Variable& loss : losses) {
    operands.push_back({loss.global_shape(), loss.layout()});
    text += text.empty() ? "+a" : ",+a";
  }
  text += "->a";
  const IndexRule::Applied rule = IndexRule("sum_of_losses", text).apply(operands);
  const Tensor& first = losses.front().tensor();
  const Tensor total = Tensor::zeros(first.device(), DType::kFloat64, first.shape());
  for (const Variable& loss : losses) {
    add_doubles(first.device().stream(), total.data<double>(), loss.tensor().data<double>(), total.num_elements());
  }
  return record("sum_of_losses", losses, total, losses.front().global_shape(), rule.layout(),
                [rule, count = losses.size()](const Gradient& dy, InputGradients& in) {
                  for (std::size_t i = 0; i < count; ++i) {
                    if (in.needed(static_cast<int>(i))) {
                      in.add(static_cast<int>(i), dy.tensor, rule.gradient(i, dy.layout));
                    }
                  }
                });
}

}  // namespace triptych::ops
