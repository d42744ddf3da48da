#include "emulator/cublaslt/gemm.h"

#include <algorithm>

namespace triptych::emulator {
namespace {

// A tile of sums stays in the innermost cache: 4 columns of D by 64 rows.
constexpr std::size_t kTileM = 64, kTileN = 4;

__attribute__((target_clones("arch=x86-64-v3", "default"))) void multiply_tile(std::size_t m, std::size_t k,
                                                                               const float* a, std::size_t a_stride,
                                                                               const float* b, std::size_t b_stride,
                                                                               std::size_t num_columns, float* product,
                                                                               std::size_t product_stride) {
  float sums[kTileN][kTileM] = {};
  for (std::size_t l = 0; l < k; ++l) {
    const float* const a_row = a + l * a_stride;
    for (std::size_t j = 0; j < num_columns; ++j) {
      const float factor = b[j * b_stride + l];
      for (std::size_t i = 0; i < m; ++i) sums[j][i] += factor * a_row[i];
    }
  }
  for (std::size_t j = 0; j < num_columns; ++j) std::copy(sums[j], sums[j] + m, product + j * product_stride);
}

}  // namespace

void multiply(std::size_t m, std::size_t n, std::size_t k, std::span<const float> a_KM, std::span<const float> b_NK,
              std::span<float> product_NM) {
  for (std::size_t i = 0; i < m; i += kTileM)
    for (std::size_t j = 0; j < n; j += kTileN)
      multiply_tile(std::min(kTileM, m - i), k, a_KM.data() + i, m, b_NK.data() + j * k, k, std::min(kTileN, n - j),
                    product_NM.data() + j * m + i, m);
}

}  // namespace triptych::emulator
