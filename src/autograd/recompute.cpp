#include "autograd/recompute.h"

#include <utility>

namespace triptych {

Variable recompute(const Segment& segment, const Variable& x, const std::function<void()>& poll) {
  const Variable detached = Variable::constant(x.tensor(), x.global_shape(), x.layout());
  const Variable y = segment(detached, false);
  return record_always("recompute", {x}, y.tensor(), y.global_shape(), y.layout(),
                       [segment, detached, poll](const Gradient& dy, InputGradients& inputs) {
                         const Variable input =
                             Variable::leaf(detached.tensor(), detached.global_shape(), detached.layout());
                         const Variable output = segment(input, true);
                         backward(std::span(&output, 1), std::span(&dy, 1), poll);
                         const std::optional<Gradient>& dx = input.gradient();
                         if (dx) inputs.add(0, dx->tensor, dx->layout);
                       });
}

}  // namespace triptych
