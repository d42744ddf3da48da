#pragma once

#include <initializer_list>
#include <utility>
#include <vector>

#include "kernels/gemm_peak.h"
#include "kernels/matmul.h"

// What the implementations of gemm_peak share.

namespace triptych::kernels {

/// The products of linear layers, y[rows, out] = x[rows, in] w[out, in]^T: the forward, the input's gradient and the
/// weight's, for each of `rows` and each pair of out and in.
inline std::vector<GemmRate> linear_products(std::initializer_list<int64_t> rows,
                                             std::initializer_list<std::pair<int64_t, int64_t>> out_and_in,
                                             DType dtype) {
  std::vector<GemmRate> products;
  for (const int64_t m : rows) {
    for (const auto& [out, in] : out_and_in) {
      products.push_back({.m = m, .n = out, .k = in, .transpose_b = true, .dtype = dtype});
      products.push_back({.m = m, .n = in, .k = out, .dtype = dtype});
      products.push_back({.m = out, .n = in, .k = m, .transpose_a = true, .dtype = dtype});
    }
  }
  return products;
}

/// The product that a rate is of, of matrices without gaps.
inline Matmul product_of(const GemmRate& rate, const void* a, const void* b, void* c) {
  Matmul product{.m = rate.m, .n = rate.n, .k = rate.k};
  product.a = a;
  product.transpose_a = rate.transpose_a;
  product.b = b;
  product.transpose_b = rate.transpose_b;
  product.c = c;
  product.input_dtype = rate.dtype;
  product.output_dtype = rate.transpose_a ? DType::kFloat32 : rate.dtype;
  return product;
}

inline double gflop_of(const GemmRate& rate) {
  return 2e-9 * static_cast<double>(rate.m) * static_cast<double>(rate.n) * static_cast<double>(rate.k);
}

}  // namespace triptych::kernels
