#pragma once

#include <memory>
#include <optional>

#include "autograd/gradient_sum.h"
#include "parallel/layout.h"
#include "tensor/tensor.h"

namespace triptych::autograd {

struct LowRankTerm;
struct Parameter;

/// A tensor with its layout and its place in the graph. A cheap value: copies refer to the same.
///
/// Operations are free functions of Variables. A result whose inputs need gradients records a node that keeps what its
/// backward reads, no more; `backward` releases that as soon as it was used.
class Variable {
 public:
  Variable() = default;

  /// A tensor that needs no gradient. `local` is this rank's piece of a tensor of `global_shape` under `layout`.
  static Variable constant(Tensor local, const Shape& global_shape, const Layout& layout);
  /// A tensor that collects its gradient: `gradient()` after `backward`.
  static Variable leaf(Tensor local, const Shape& global_shape, const Layout& layout);
  /// A parameter's compute tensor: with `record`, and if the parameter is trained, a leaf whose gradient is summed up
  /// in the parameter, which must outlive the graph; else a constant. With its adapter, if it has one.
  static Variable of(Parameter& parameter, bool record);

  bool defined() const { return state_ != nullptr; }
  const Tensor& tensor() const;
  const Shape& global_shape() const;
  const Layout& layout() const;
  DType dtype() const { return tensor().dtype(); }
  bool needs_gradient() const;
  /// Of a parameter that has an adapter; null of all others. What multiplies by the parameter has to add this term.
  const LowRankTerm* adapter() const;
  /// The same tensor, of which the graph knows nothing.
  Variable detached() const;
  /// Of a leaf: what has been summed up, if anything. Not reduced: it may be Partial.
  std::optional<Gradient> gradient() const;

 private:
  friend struct Edge;
  struct State;
  std::shared_ptr<State> state_;
};

/// An adapter's parameters as variables: see Adapter.
struct LowRankTerm {
  Variable a, b;
  float scale = 1;
};

}  // namespace triptych::autograd
