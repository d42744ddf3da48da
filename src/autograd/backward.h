#pragma once

#include <functional>
#include <span>
#include <vector>

#include "autograd/variable.h"

namespace triptych::autograd {

/// Work on gradients of weights that was kept for later.
using WorkApart = std::vector<std::function<void()>>;

struct BackwardOptions {
  std::function<void()> poll = {};  ///< called after every operation: lets communication progress
  /// Where work on weights' gradients is put, to be run by `run_apart` (Qi et al. 2023, zero-bubble pipelines: backward
  /// is two halves, that of the activations and that of the weights); null: it is run at once.
  WorkApart* apart = nullptr;
  Trace* trace = nullptr;  ///< sees every operation's backward
};

/// Runs the graph behind `roots` backwards from the given gradients, later operations first; each operation's memory is
/// released once it has run. A root may be a leaf: its gradient is added to the leaf's.
void backward(std::span<const Variable> roots, std::span<const Gradient> gradients,
              const BackwardOptions& options = {});

/// Runs what was kept, in the order in which it came, and releases it.
void run_apart(WorkApart work, const std::function<void()>& poll);

}  // namespace triptych::autograd
