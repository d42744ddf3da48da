#include "autograd/record.h"

#include <algorithm>
#include <utility>

#include "autograd/backward.h"
#include "autograd/node.h"

namespace triptych::autograd {
namespace {

void trace(std::string_view name, const std::vector<Result>& results) {
  if (results.empty()) return;
  if (Trace* const trace = results.front().tensor.device().trace()) trace->add_since_last("forward", name);
}

}  // namespace

InputGradients::InputGradients(std::string_view operation, std::vector<Edge>& inputs, const BackwardOptions& options)
    : operation_(operation), inputs_(inputs), options_(options) {}

Edge& InputGradients::edge(int input) const {
  return inputs_[static_cast<std::size_t>(input)];
}

bool InputGradients::needed(int input) const {
  return edge(input).needs_gradient();
}

void InputGradients::add(int input, Tensor gradient, const Layout& layout) {
  if (needed(input)) edge(input).sum().add(operation_, std::move(gradient), layout);
}

std::optional<Gradient> InputGradients::so_far(int input) const {
  if (!needed(input)) return std::nullopt;
  return edge(input).sum().value();
}

void InputGradients::replace(int input, Tensor gradient, const Layout& layout) {
  if (needed(input)) edge(input).sum().replace(operation_, std::move(gradient), layout);
}

GradientTarget InputGradients::target(int input, Device& device, const Layout& layout) {
  if (!needed(input)) return {};
  return edge(input).sum().target(operation_, device, edge(input).shape, layout);
}

SumTarget InputGradients::sum_target(int input, Device& device, const Layout& layout) {
  const GradientTarget memory = target(input, device, layout);
  return memory.tensor.defined() ? SumTarget(memory.tensor.data<float>(), memory.assign) : SumTarget();
}

void InputGradients::apart(std::initializer_list<int> inputs, std::function<void(InputGradients&)> work) {
  if (std::none_of(inputs.begin(), inputs.end(), [this](int i) { return needed(i); })) return;
  // What another operation made must have its gradient when that operation's backward runs, in this very pass.
  const bool can_wait = std::all_of(inputs.begin(), inputs.end(), [this](int i) { return edge(i).node == nullptr; });
  if (options_.apart == nullptr || !can_wait) return work(*this);
  has_work_apart_ = true;
  std::vector<Edge> leaves = inputs_;
  for (Edge& other : leaves) other.node = nullptr;
  options_.apart->push_back([operation = operation_, leaves = std::move(leaves), work = std::move(work)]() mutable {
    const BackwardOptions now;
    InputGradients own(operation, leaves, now);
    work(own);
    for (const Edge& leaf : leaves) {
      if (leaf.leaf) leaf.leaf->count_use();
    }
  });
}

std::vector<Variable> record_always(std::string_view name, std::vector<Variable> inputs, std::vector<Result> results,
                                    BackwardOfAll backward) {
  trace(name, results);
  auto node = std::make_shared<Node>();
  node->name = name;
  node->inputs.reserve(inputs.size());
  for (const Variable& input : inputs) {
    const Edge& edge = Edge::of(input);
    if (edge.node) node->depth = std::max(node->depth, edge.node->depth + 1);
    node->inputs.push_back(edge);
  }
  node->backward = std::move(backward);
  node->gradients.resize(results.size());
  std::vector<Variable> variables;
  for (std::size_t i = 0; i < results.size(); ++i) {
    Result& result = results[i];
    node->dtypes.push_back(result.tensor.dtype());
    variables.push_back(
        Edge::variable(std::move(result.tensor), result.global_shape, result.layout, {.node = node, .result = i}));
  }
  return variables;
}

std::vector<Variable> record_all(std::string_view name, std::vector<Variable> inputs, std::vector<Result> results,
                                 BackwardOfAll backward) {
  if (std::any_of(inputs.begin(), inputs.end(), [](const Variable& v) { return v.needs_gradient(); })) {
    return record_always(name, std::move(inputs), std::move(results), std::move(backward));
  }
  trace(name, results);
  std::vector<Variable> variables;
  for (Result& result : results) {
    variables.push_back(Variable::constant(std::move(result.tensor), result.global_shape, result.layout));
  }
  return variables;
}

Variable record(std::string_view name, std::vector<Variable> inputs, Tensor output, const Shape& global_shape,
                const Layout& layout, BackwardFunction backward) {
  const auto of_one = [backward = std::move(backward)](std::span<const std::optional<Gradient>> dys,
                                                       InputGradients& in) { backward(*dys[0], in); };
  return record_all(name, std::move(inputs), {{std::move(output), global_shape, layout}}, of_one)[0];
}

}  // namespace triptych::autograd
