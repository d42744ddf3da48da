#pragma once

// What variable.cpp, record.cpp and backward.cpp share; nobody else includes it.

#include <memory>
#include <string_view>
#include <vector>

#include "autograd/kept.h"
#include "autograd/record.h"

namespace triptych::autograd {

struct Node;

/// Where a gradient goes: to a result of the node that made the variable, or to a leaf's sum.
struct Edge {
  std::shared_ptr<Node> node;
  std::size_t result = 0;  // which of the node's
  std::shared_ptr<GradientSum> leaf;
  Shape shape;  // local

  bool needs_gradient() const { return node || leaf; }
  GradientSum& sum() const;

  static const Edge& of(const Variable& variable);
  static Variable variable(Tensor tensor, const Shape& global_shape, const Layout& layout, Edge edge, Kept again = {});
  static const Kept& again(const Variable& variable);
};

struct Node {
  std::string_view name;
  int64_t depth = 0;  // more than any input's: decreasing depth is an order in which every use runs before its source
  std::vector<Edge> inputs;
  BackwardOfAll backward;
  std::vector<GradientSum> gradients;  // of the results
  std::vector<DType> dtypes;           // of the results: backward gets their gradients in these
  bool queued = false;
};

struct Variable::State {
  Tensor tensor;
  Shape global_shape;
  Layout layout;
  Edge edge;
  std::shared_ptr<const LowRankTerm> adapter = {};
  Kept again = {};  // undefined: who keeps the variable keeps its tensor
};

}  // namespace triptych::autograd
