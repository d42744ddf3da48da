#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// y = 1 / (1 + exp(-x)), for x of any shape and layout but Partial: (1 + tanh(x / 2)) / 2, by those operations.
///
/// Backward: keeps tanh(x / 2). Local: never communicates.
Variable sigmoid(const Variable& x);

}  // namespace triptych::ops
