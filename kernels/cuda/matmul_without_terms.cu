#include "kernels/cuda/common.cuh"
#include "kernels/cuda/matmul_without_terms.h"

namespace triptych::kernels::cuda {
namespace {

template <typename T>
__global__ void __launch_bounds__(kBlockThreads) without_terms(Matmul p) {
  const int64_t count = p.batch * p.m * p.n;
  for (int64_t i = grid_thread(); i < count; i += grid_threads()) {
    const int64_t column = i % p.n, row = i / p.n % p.m, index = i / p.n / p.m;
    T* const c = static_cast<T*>(p.c) + index * p.c_batch_stride + row * p.c_row_stride + column;
    const float before = p.accumulate ? to_float(*c) : 0.0f;
    *c = from_float<T>(before + (p.bias != nullptr ? p.bias[column] : 0.0f));
  }
}

}  // namespace

void matmul_without_terms(Stream& stream, const Matmul& product) {
  with_float_type(product.output_dtype, "matmul", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const unsigned blocks = grid_blocks(product.batch * product.m * product.n, kBlockThreads);
    without_terms<T><<<blocks, kBlockThreads, 0, cuda_stream(stream)>>>(product);
    check_launch("matmul without terms");
  });
}

}  // namespace triptych::kernels::cuda
