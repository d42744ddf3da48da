#pragma once

#include <functional>
#include <span>
#include <vector>

#include "autograd/variable.h"

namespace triptych::autograd {

/// A piece of a model as a function of its inputs; `record` says whether its operations shall build a graph.
using Segment = std::function<std::vector<Variable>(std::span<const Variable> inputs, bool record)>;

/// Runs `segment` without a graph, keeping only its inputs; backward runs it again, with one, and through it. The
/// segment must be a pure function of its inputs, its parameters and random keys, so the second run computes the same
/// bits.
///   trains   whether the segment has a parameter that is trained: where it has none, and no input needs a gradient,
///            nothing is kept and backward ends there
std::vector<Variable> recompute(const Segment& segment, std::span<const Variable> inputs, bool trains);

}  // namespace triptych::autograd
