#include "autograd/backward.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "autograd/node.h"

namespace triptych::autograd {
namespace {

struct Entry {
  int64_t depth;
  int64_t arrival;
  std::shared_ptr<Node> node;
  bool operator<(const Entry& other) const {
    return depth != other.depth ? depth < other.depth : arrival > other.arrival;
  }
};

// The nodes whose gradients have come, deepest first.
class Ready {
 public:
  void add(const std::shared_ptr<Node>& node) {
    if (!node) return;
    TRIPTYCH_CHECK(node->backward != nullptr, "{}: backward ran already", node->name);
    if (std::exchange(node->queued, true)) return;
    queue_.push({node->depth, num_arrivals_++, node});
  }
  bool empty() const { return queue_.empty(); }
  std::shared_ptr<Node> pop() {
    std::shared_ptr<Node> node = queue_.top().node;
    queue_.pop();
    return node;
  }

 private:
  std::priority_queue<Entry> queue_;
  int64_t num_arrivals_ = 0;
};

bool has_gradient(const Node& node) {
  return std::any_of(node.gradients.begin(), node.gradients.end(), [](const GradientSum& sum) { return !sum.empty(); });
}

// Runs one node; what it saved and its gradients are gone before anything else runs. True if some of its work was kept
// for later, which then counts its uses of leaves.
bool run(Node& node, const BackwardOptions& options) {
  std::vector<std::optional<Gradient>> dys;
  for (std::size_t i = 0; i < node.gradients.size(); ++i) {
    std::optional<Gradient> dy = node.gradients[i].take();
    if (dy) dy->tensor = dy->tensor.to(node.dtypes[i]);
    dys.push_back(std::move(dy));
  }
  const BackwardOfAll backward = std::exchange(node.backward, nullptr);
  InputGradients inputs(node.name, node.inputs, options);
  backward(dys, inputs);
  return inputs.has_work_apart();
}

}  // namespace

void backward(std::span<const Variable> roots, std::span<const Gradient> gradients, const BackwardOptions& options) {
  TRIPTYCH_CHECK(roots.size() == gradients.size(), "{} roots, {} gradients", roots.size(), gradients.size());
  Ready ready;
  for (std::size_t i = 0; i < roots.size(); ++i) {
    const Edge& edge = Edge::of(roots[i]);
    if (!edge.needs_gradient()) continue;
    edge.sum().add("backward", gradients[i].tensor, gradients[i].layout);
    ready.add(edge.node);
  }
  while (!ready.empty()) {
    const std::shared_ptr<Node> node = ready.pop();
    const bool counts_later = [&] {
      const TraceScope scope(options.trace, "backward", [&] { return std::string(node->name); });
      return run(*node, options);
    }();
    for (const Edge& edge : node->inputs) {
      if (edge.leaf && !counts_later) edge.leaf->count_use();
      if (edge.node && has_gradient(*edge.node)) ready.add(edge.node);
    }
    node->inputs.clear();
    if (options.poll) options.poll();
  }
}

void run_apart(WorkApart work, const std::function<void()>& poll) {
  for (std::function<void()>& one : work) {
    std::exchange(one, nullptr)();
    if (poll) poll();
  }
}

}  // namespace triptych::autograd
