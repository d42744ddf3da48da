#include "autograd/node.h"
#include "autograd/parameter.h"

namespace triptych::autograd {

GradientSum& Edge::sum() const {
  return node ? node->gradients[result] : *leaf;
}

const Edge& Edge::of(const Variable& variable) {
  return variable.state_->edge;
}

const Kept& Edge::again(const Variable& variable) {
  return variable.state_->again;
}

Variable Edge::variable(Tensor tensor, const Shape& global_shape, const Layout& layout, Edge edge, Kept again) {
  edge.shape = tensor.shape();
  Variable result;
  result.state_ = std::make_shared<Variable::State>(Variable::State{.tensor = std::move(tensor),
                                                                    .global_shape = global_shape,
                                                                    .layout = layout,
                                                                    .edge = std::move(edge),
                                                                    .again = std::move(again)});
  return result;
}

Variable Variable::constant(Tensor local, const Shape& global_shape, const Layout& layout) {
  return Edge::variable(std::move(local), global_shape, layout, {});
}

Variable Variable::leaf(Tensor local, const Shape& global_shape, const Layout& layout) {
  return Edge::variable(std::move(local), global_shape, layout, {.leaf = std::make_shared<GradientSum>()});
}

Variable Variable::of(Parameter& parameter, bool record) {
  Edge edge;
  if (record && parameter.is_trained)
    edge.leaf = std::shared_ptr<GradientSum>(std::shared_ptr<void>(), &parameter.gradient);
  Variable result = Edge::variable(parameter.compute, parameter.global_shape, parameter.layout, std::move(edge));
  if (const std::optional<Adapter>& adapter = parameter.adapter) {
    result.state_->adapter = std::make_shared<const LowRankTerm>(
        LowRankTerm{.a = of(*adapter->a, record), .b = of(*adapter->b, record), .scale = adapter->scale});
  }
  return result;
}

const Tensor& Variable::tensor() const {
  TRIPTYCH_CHECK(defined(), "an undefined variable");
  return state_->tensor;
}
const Shape& Variable::global_shape() const {
  return state_->global_shape;
}
const Layout& Variable::layout() const {
  return state_->layout;
}
bool Variable::needs_gradient() const {
  return state_->edge.needs_gradient();
}
const LowRankTerm* Variable::adapter() const {
  return state_->adapter.get();
}
Variable Variable::detached() const {
  return constant(tensor(), global_shape(), layout());
}

std::optional<Gradient> Variable::gradient() const {
  TRIPTYCH_CHECK(state_->edge.leaf != nullptr, "only a leaf keeps its gradient");
  return state_->edge.leaf->value();
}

}  // namespace triptych::autograd
