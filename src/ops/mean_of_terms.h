#pragma once

#include "autograd/variable.h"

namespace triptych::ops {

/// weight * sum / count: a loss over what is present in the global batch, as a part of the run's loss.
///
///   sum    float64 [1]: this rank's summand of the sum of the terms, or the whole of it
///   count  float64 [1] in device memory: the number of terms, the same on all ranks; where it is 0 the result is 0
///   returns float64 [1], laid out as `sum`
///
/// Local: never communicates, and the host does not learn the count.
Variable mean_of_terms(const Variable& sum, double weight, const Tensor& count);

}  // namespace triptych::ops
