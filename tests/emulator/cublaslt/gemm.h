#pragma once

#include <cstddef>
#include <span>

namespace triptych::emulator {

/// product_NM = b_NK * a_KM in float32, summed in the order of k; each [rows, columns] contiguous by rows. It is the
/// column-major product D = A * B of m x k and k x n, where both operands have been brought into the order that lets
/// the innermost loop run over m.
void multiply(std::size_t m, std::size_t n, std::size_t k, std::span<const float> a_KM, std::span<const float> b_NK,
              std::span<float> product_NM);

}  // namespace triptych::emulator
