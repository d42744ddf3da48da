#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "autograd/variable.h"
#include "kernels/sum_target.h"

namespace triptych::autograd {

struct Edge;
struct BackwardOptions;

/// What the backward of an operation sees of its inputs. Leaves, parameters among them, and results of other operations
/// are all alike.
class InputGradients {
 public:
  InputGradients(std::string_view operation, std::vector<Edge>& inputs, const BackwardOptions& options);

  bool needed(int input) const;
  /// Adds to the gradient of an input. Every summand must have one layout: LayoutError else.
  /// May keep and later overwrite `gradient` if nobody else holds it.
  void add(int input, Tensor gradient, const Layout& layout);
  /// The sum so far of an input, for kernels that add to it on the way; nothing if there is none.
  std::optional<Gradient> so_far(int input) const;
  /// Sets the sum of an input to one that includes `so_far`.
  void replace(int input, Tensor gradient, const Layout& layout);
  /// Float32 memory for a kernel to leave the summand of an input in: added to what is there, or assigned, which saves
  /// clearing it first. Nothing (`tensor` undefined) if the gradient is not needed.
  GradientTarget target(int input, Device& device, const Layout& layout);
  /// The same, for kernels that sum up; null if the gradient is not needed.
  SumTarget sum_target(int input, Device& device, const Layout& layout);

  /// Work on the gradients of `inputs` alone, weights in general, that nothing else waits for: run now, or, where the
  /// schedule separates the two halves of backward and none of them was made by another operation, kept for later with
  /// what it holds. Not run at all if none of the gradients is needed.
  void apart(std::initializer_list<int> inputs, std::function<void(InputGradients&)> work);

  const BackwardOptions& options() const { return options_; }
  bool has_work_apart() const { return has_work_apart_; }

 private:
  Edge& edge(int input) const;

  std::string_view operation_;
  std::vector<Edge>& inputs_;
  const BackwardOptions& options_;
  bool has_work_apart_ = false;
};

/// The result of an operation.
struct Result {
  Tensor tensor;
  Shape global_shape;
  Layout layout;
};

/// The gradient is of the result's dtype.
using BackwardFunction = std::function<void(const Gradient& dy, InputGradients& inputs)>;
/// Gets a gradient for each result; nothing for one that nobody used.
using BackwardOfAll = std::function<void(std::span<const std::optional<Gradient>> dys, InputGradients& inputs)>;

/// Makes the result of an operation, and its node if an input needs a gradient.
///   name      of the operation, for errors; a literal
///   backward  gets the gradient of `output`; runs once and is then destroyed with all it holds
Variable record(std::string_view name, std::vector<Variable> inputs, Tensor output, const Shape& global_shape,
                const Layout& layout, BackwardFunction backward);

/// The same for an operation with any number of results: its backward runs once, when the gradients of all that were
/// used are complete.
std::vector<Variable> record_all(std::string_view name, std::vector<Variable> inputs, std::vector<Result> results,
                                 BackwardOfAll backward);

/// As `record_all`, but for an operation that reaches parameters which are not among its inputs: always recorded.
std::vector<Variable> record_always(std::string_view name, std::vector<Variable> inputs, std::vector<Result> results,
                                    BackwardOfAll backward);

}  // namespace triptych::autograd
