#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/parameter.h"
#include "parallel/layout.h"
#include "tensor/tensor.h"

namespace triptych {

/// A gradient, or a summand of one: a layout's axes may be Partial.
struct Gradient {
  Tensor tensor;
  Layout layout;
};

struct Node;

/// A tensor with its layout and its place in the graph. A cheap value: copies refer to the same.
///
/// Operations are free functions of Variables. A result whose inputs need gradients records a Node that keeps what its
/// backward reads, no more; `backward` releases that as soon as it was used.
class Variable {
 public:
  Variable() = default;

  /// A tensor that needs no gradient. `local` is this rank's piece of a tensor of `global_shape` under `layout`.
  static Variable constant(Tensor local, const Shape& global_shape, const Layout& layout);
  /// A tensor that collects its gradient: `gradient()` after `backward`.
  static Variable leaf(Tensor local, const Shape& global_shape, const Layout& layout);
  /// A parameter's compute tensor; with `record`, its gradient is accumulated into the parameter.
  static Variable of(Parameter& parameter, bool record);

  bool defined() const { return state_ != nullptr; }
  const Tensor& tensor() const;
  const Shape& global_shape() const;
  const Layout& layout() const;
  DType dtype() const { return tensor().dtype(); }
  bool needs_gradient() const;
  /// Of a leaf: what has been accumulated, if anything. Not reduced: it may be Partial.
  const std::optional<Gradient>& gradient() const;

 private:
  friend class Recorder;
  friend void backward(std::span<const Variable>, std::span<const Gradient>, const std::function<void()>&);
  struct State;
  std::shared_ptr<State> state_;
};

/// What the backward of an operation sees of its inputs.
class InputGradients {
 public:
  explicit InputGradients(Node& node) : node_(node) {}

  bool needed(int input) const;
  /// Adds to the gradient of an input that is not a parameter. Every summand must have one layout: LayoutError else.
  /// May keep and later overwrite `gradient` if nobody else holds it.
  void add(int input, Tensor gradient, const Layout& layout);
  /// The sum so far of an input that is not a parameter, for kernels that add to it on the way; null if there is none.
  const Gradient* so_far(int input) const;
  /// Sets the sum of an input to one that includes `so_far`.
  void replace(int input, Tensor gradient, const Layout& layout);

  /// The float32 buffer of a parameter, to be added to; `layout` is what the summand has. If `assign` is given and
  /// nothing was accumulated yet, it is set to true and the buffer, undefined, must be written in full.
  Tensor parameter(int input, const Layout& layout, bool* assign = nullptr);

 private:
  Node& node_;
};

using BackwardFunction = std::function<void(const Gradient& dy, InputGradients& inputs)>;

/// Makes the result of an operation, and its node if an input needs a gradient.
///   name      of the operation, for errors
///   backward  gets the gradient of `output`; runs once and is then destroyed with all it holds
Variable record(std::string_view name, std::vector<Variable> inputs, Tensor output, const Shape& global_shape,
                const Layout& layout, BackwardFunction backward);

/// As `record`, but for an operation that reaches parameters which are not among its inputs: always recorded.
Variable record_always(std::string_view name, std::vector<Variable> inputs, Tensor output, const Shape& global_shape,
                       const Layout& layout, BackwardFunction backward);

/// One of the results of an operation that has two.
struct Result {
  Tensor tensor;
  Shape global_shape;
  Layout layout;
};

/// Gets a gradient for each result; null for one that nobody used.
using PairBackwardFunction =
    std::function<void(const Gradient* dfirst, const Gradient* dsecond, InputGradients& inputs)>;

/// As `record`, for an operation with two results. Its backward runs once, when both gradients are complete.
std::pair<Variable, Variable> record_pair(std::string_view name, std::vector<Variable> inputs, Result first,
                                          Result second, PairBackwardFunction backward);

/// Runs the graph behind `roots` backwards from the given gradients, later operations first; each node's memory is
/// released once it has run. `poll` is called after every node: it lets communication progress.
void backward(std::span<const Variable> roots, std::span<const Gradient> gradients, const std::function<void()>& poll);

}  // namespace triptych
