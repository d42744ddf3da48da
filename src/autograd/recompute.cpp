#include "autograd/recompute.h"

#include <algorithm>
#include <utility>

#include "autograd/backward.h"
#include "autograd/record.h"

namespace triptych::autograd {

std::vector<Variable> recompute(const Segment& segment, std::span<const Variable> inputs, bool trains) {
  if (!trains && std::none_of(inputs.begin(), inputs.end(), [](const Variable& x) { return x.needs_gradient(); })) {
    return segment(inputs, false);
  }
  std::vector<Variable> detached;
  for (const Variable& input : inputs) detached.push_back(input.detached());
  std::vector<Result> results;
  for (const Variable& y : segment(detached, false)) results.push_back({y.tensor(), y.global_shape(), y.layout()});
  return record_always("recompute", {inputs.begin(), inputs.end()}, std::move(results),
                       [segment, detached](std::span<const std::optional<Gradient>> dys, InputGradients& in) {
                         std::vector<Variable> leaves;
                         for (std::size_t i = 0; i < detached.size(); ++i) {
                           const Variable& x = detached[i];
                           leaves.push_back(in.needed(static_cast<int>(i))
                                                ? Variable::leaf(x.tensor(), x.global_shape(), x.layout())
                                                : x);
                         }
                         std::vector<Variable> used;
                         std::vector<Gradient> gradients;
                         std::vector<Variable> outputs = segment(leaves, true);
                         for (std::size_t i = 0; i < outputs.size(); ++i) {
                           if (!dys[i]) continue;
                           used.push_back(std::move(outputs[i]));
                           gradients.push_back(*dys[i]);
                         }
                         outputs.clear();
                         backward(used, gradients, in.options());
                         for (std::size_t i = 0; i < leaves.size(); ++i) {
                           if (!leaves[i].needs_gradient()) continue;
                           const std::optional<Gradient> dx = leaves[i].gradient();
                           if (dx) in.add(static_cast<int>(i), dx->tensor, dx->layout);
                         }
                       });
}

}  // namespace triptych::autograd
