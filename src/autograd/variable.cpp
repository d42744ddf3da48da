#include "autograd/variable.h"

#include <algorithm>
#include <array>
#include <queue>
#include <utility>

#include "kernels/elementwise.h"

namespace triptych {

// Where a gradient goes: to the node that made the variable, to a leaf, or to a parameter.
struct Edge {
  std::shared_ptr<Node> node;
  int result = 0;  // which of the node's
  std::shared_ptr<std::optional<Gradient>> leaf;
  Parameter* parameter = nullptr;

  bool needs_gradient() const { return node || leaf || parameter != nullptr; }
};

struct Node {
  std::string_view name;
  int64_t depth = 0;  // more than any input's: decreasing depth is an order in which every use runs before its source
  std::vector<Edge> inputs;
  PairBackwardFunction backward;
  std::array<std::optional<Gradient>, 2> gradients;  // of the results
  bool queued = false;

  bool has_gradient() const { return gradients[0] || gradients[1]; }
};

struct Variable::State {
  Tensor tensor;
  Shape global_shape;
  Layout layout;
  Edge edge;
};

class Recorder {
 public:
  static Variable make(Tensor tensor, const Shape& global_shape, const Layout& layout, Edge edge) {
    Variable result;
    result.state_ =
        std::make_shared<Variable::State>(Variable::State{std::move(tensor), global_shape, layout, std::move(edge)});
    return result;
  }
  static const Edge& edge(const Variable& variable) { return variable.state_->edge; }
};

namespace {

void accumulate(std::string_view name, std::optional<Gradient>& sum, Tensor tensor, const Layout& layout) {
  if (!sum) {
    sum = Gradient{std::move(tensor), layout};
    return;
  }
  if (!(sum->layout == layout)) {
    throw LayoutError(name, fmt::format("gradients of one variable must have one layout, found {} and {}. Redistribute "
                                        "one of the uses",
                                        sum->layout.to_string(), layout.to_string()));
  }
  TRIPTYCH_CHECK(sum->tensor.shape() == tensor.shape() && sum->tensor.dtype() == tensor.dtype(),
                 "{}: gradients {} {} and {} {}", name, dtype_name(sum->tensor.dtype()),
                 sum->tensor.shape().to_string(), dtype_name(tensor.dtype()), tensor.shape().to_string());
  Tensor target = sum->tensor, other = tensor;
  sum->tensor = Tensor();
  if (!target.is_sole_owner() || !target.is_contiguous()) {
    if (tensor = Tensor(); other.is_sole_owner() && other.is_contiguous()) {
      std::swap(target, other);
    } else {
      target = target.clone();
    }
  }
  other = other.contiguous();
  add_into(target.device().stream(), target.raw(), other.raw(), target.num_elements(), target.dtype());
  sum->tensor = std::move(target);
}

std::optional<Gradient>& slot(Edge& edge) {
  return edge.node ? edge.node->gradients[static_cast<std::size_t>(edge.result)] : *edge.leaf;
}

Edge make_node(std::string_view name, const std::vector<Variable>& inputs, PairBackwardFunction backward) {
  auto node = std::make_shared<Node>();
  node->name = name;
  node->inputs.reserve(inputs.size());
  for (const Variable& input : inputs) {
    const Edge& edge = Recorder::edge(input);
    if (edge.node) node->depth = std::max(node->depth, edge.node->depth + 1);
    node->inputs.push_back(edge);
  }
  node->backward = std::move(backward);
  Edge edge;
  edge.node = std::move(node);
  return edge;
}

bool any_needs_gradient(const std::vector<Variable>& inputs) {
  return std::any_of(inputs.begin(), inputs.end(), [](const Variable& v) { return v.needs_gradient(); });
}

}  // namespace

Variable Variable::constant(Tensor local, const Shape& global_shape, const Layout& layout) {
  return Recorder::make(std::move(local), global_shape, layout, {});
}

Variable Variable::leaf(Tensor local, const Shape& global_shape, const Layout& layout) {
  Edge edge;
  edge.leaf = std::make_shared<std::optional<Gradient>>();
  return Recorder::make(std::move(local), global_shape, layout, std::move(edge));
}

Variable Variable::of(Parameter& parameter, bool record) {
  Edge edge;
  if (record) edge.parameter = &parameter;
  return Recorder::make(parameter.compute, parameter.global_shape, parameter.layout, std::move(edge));
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

const std::optional<Gradient>& Variable::gradient() const {
  TRIPTYCH_CHECK(state_->edge.leaf != nullptr, "only a leaf keeps its gradient");
  return *state_->edge.leaf;
}

bool InputGradients::needed(int input) const {
  return node_.inputs[static_cast<std::size_t>(input)].needs_gradient();
}

void InputGradients::add(int input, Tensor gradient, const Layout& layout) {
  Edge& edge = node_.inputs[static_cast<std::size_t>(input)];
  if (!edge.needs_gradient()) return;
  TRIPTYCH_CHECK(edge.parameter == nullptr, "{}: input {} is a parameter", node_.name, input);
  accumulate(node_.name, slot(edge), std::move(gradient), layout);
}

const Gradient* InputGradients::so_far(int input) const {
  Edge& edge = node_.inputs[static_cast<std::size_t>(input)];
  if (!edge.needs_gradient() || edge.parameter != nullptr || !slot(edge)) return nullptr;
  return &*slot(edge);
}

void InputGradients::replace(int input, Tensor gradient, const Layout& layout) {
  Edge& edge = node_.inputs[static_cast<std::size_t>(input)];
  if (edge.needs_gradient()) slot(edge) = Gradient{std::move(gradient), layout};
}

Tensor InputGradients::parameter(int input, const Layout& layout, bool* assign) {
  Parameter* parameter = node_.inputs[static_cast<std::size_t>(input)].parameter;
  TRIPTYCH_CHECK(parameter != nullptr, "{}: input {} is not a parameter", node_.name, input);
  if (!(layout == parameter->gradient_layout)) {
    throw LayoutError(node_.name,
                      fmt::format("the gradient of {} must come out {}, found {}. Correct the parallel plan",
                                  parameter->name, parameter->gradient_layout.to_string(), layout.to_string()));
  }
  if (assign != nullptr) *assign = parameter->gradient_is_empty;
  if (parameter->gradient_is_empty && assign == nullptr) parameter->gradient.fill_zero();
  parameter->gradient_is_empty = false;
  return parameter->gradient;
}

Variable record_always(std::string_view name, std::vector<Variable> inputs, Tensor output, const Shape& global_shape,
                       const Layout& layout, BackwardFunction backward) {
  auto of_one = [backward = std::move(backward)](const Gradient* dy, const Gradient*, InputGradients& in) {
    backward(*dy, in);
  };
  return Recorder::make(std::move(output), global_shape, layout, make_node(name, inputs, std::move(of_one)));
}

Variable record(std::string_view name, std::vector<Variable> inputs, Tensor output, const Shape& global_shape,
                const Layout& layout, BackwardFunction backward) {
  if (any_needs_gradient(inputs)) {
    return record_always(name, std::move(inputs), std::move(output), global_shape, layout, std::move(backward));
  }
  return Variable::constant(std::move(output), global_shape, layout);
}

std::pair<Variable, Variable> record_pair(std::string_view name, std::vector<Variable> inputs, Result first,
                                          Result second, PairBackwardFunction backward) {
  Edge edge;
  if (any_needs_gradient(inputs)) edge = make_node(name, inputs, std::move(backward));
  const auto make = [&](Result& result, int index) {
    edge.result = index;
    return Recorder::make(std::move(result.tensor), result.global_shape, result.layout, edge);
  };
  Variable made_first = make(first, 0), made_second = make(second, 1);
  return {std::move(made_first), std::move(made_second)};
}

void backward(std::span<const Variable> roots, std::span<const Gradient> gradients, const std::function<void()>& poll) {
  TRIPTYCH_CHECK(roots.size() == gradients.size(), "{} roots, {} gradients", roots.size(), gradients.size());
  struct Entry {
    int64_t depth;
    int64_t arrival;
    std::shared_ptr<Node> node;
    bool operator<(const Entry& other) const {
      return depth != other.depth ? depth < other.depth : arrival > other.arrival;
    }
  };
  std::priority_queue<Entry> ready;
  int64_t num_arrivals = 0;
  const auto enqueue = [&](const std::shared_ptr<Node>& node) {
    if (!node) return;
    TRIPTYCH_CHECK(node->backward != nullptr, "{}: backward ran already", node->name);
    if (node->queued) return;
    node->queued = true;
    ready.push({node->depth, num_arrivals++, node});
  };
  for (std::size_t i = 0; i < roots.size(); ++i) {
    Edge edge = Recorder::edge(roots[i]);
    if (!edge.needs_gradient()) continue;
    TRIPTYCH_CHECK(edge.parameter == nullptr, "a parameter cannot be a root");
    accumulate("backward", slot(edge), gradients[i].tensor, gradients[i].layout);
    enqueue(edge.node);
  }
  while (!ready.empty()) {
    const std::shared_ptr<Node> node = ready.top().node;
    ready.pop();
    {  // what the node saved and its gradient are gone before anything else runs
      const auto dys = std::exchange(node->gradients, {});
      const PairBackwardFunction run = std::exchange(node->backward, nullptr);
      InputGradients inputs(*node);
      run(dys[0] ? &*dys[0] : nullptr, dys[1] ? &*dys[1] : nullptr, inputs);
    }
    for (Edge& edge : node->inputs) {
      if (edge.parameter != nullptr) ++edge.parameter->num_summands;
      if (edge.node && edge.node->has_gradient()) enqueue(edge.node);
    }
    node->inputs.clear();
    if (poll) poll();
  }
}

}  // namespace triptych
