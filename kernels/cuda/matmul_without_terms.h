#pragma once

#include "kernels/matmul.h"

namespace triptych::kernels::cuda {

/// The product of no terms, k == 0: C = bias or 0, or C += bias. Strides are filled in, m, n and batch positive.
void matmul_without_terms(Stream& stream, const Matmul& product);

}  // namespace triptych::kernels::cuda
