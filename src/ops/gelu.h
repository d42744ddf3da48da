#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// y = h * Phi(h), Phi the normal distribution function: the exact GELU. For h of any shape and layout but Partial.
///
/// Backward: keeps h. Local: never communicates. Source: Hendrycks and Gimpel 2016.
Variable gelu(const Variable& h);

}  // namespace triptych::ops
