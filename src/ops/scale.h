#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// y = factor * x, for x of any shape and layout but a maximum; laid out as x. Backward: keeps nothing. Local: never
/// communicates.
Variable scale(const Variable& x, float factor);

/// y = -x.
inline Variable negate(const Variable& x) {
  return scale(x, -1);
}

}  // namespace triptych::ops
