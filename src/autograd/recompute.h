#pragma once

#include <functional>

#include "autograd/variable.h"

namespace triptych {

/// A piece of a model as a function of its input; `record` says whether its operations shall build a graph.
using Segment = std::function<Variable(const Variable& x, bool record)>;

/// Runs `segment` without a graph, keeping only x; backward runs it again, with one, and through it. The segment must
/// be a pure function of x, its parameters and random keys, so the second run computes the same bits.
Variable recompute(const Segment& segment, const Variable& x, const std::function<void()>& poll);

}  // namespace triptych
