#include "autograd/kept.h"

#include <utility>

#include "autograd/node.h"

namespace triptych::autograd {

Kept::Kept(Tensor tensor) : state_(std::make_shared<State>(State{std::move(tensor), {}})) {}

Kept::Kept(std::function<Tensor()> make) : state_(std::make_shared<State>(State{{}, std::move(make)})) {}

const Tensor& Kept::tensor() const {
  // What it was made from is no longer needed then.
  if (state_->make) state_->tensor = std::exchange(state_->make, nullptr)();
  return state_->tensor;
}

Variable made_again(const Variable& x, Kept again) {
  return Edge::variable(x.tensor(), x.global_shape(), x.layout(), Edge::of(x), std::move(again));
}

Kept kept_again(const Variable& x) {
  return Edge::again(x);
}

Kept keep(const Variable& x, const Tensor& elements) {
  const Kept& again = Edge::again(x);
  return again.defined() ? again : Kept(elements);
}

}  // namespace triptych::autograd
