#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// y = tanh(x), for x of any shape and layout but Partial.
///
/// Backward: keeps y. Local: never communicates.
Variable tanh(const Variable& x);

}  // namespace triptych::ops
