#include "tests/emulator/runtime/test_kernels.h"

namespace triptych::emulator {
namespace {

__global__ void saxpy(int count, float a, const float* x, float* y) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) y[i] = a * x[i] + y[i];
}

__global__ void reverse(float* values) {
  extern __shared__ float shared[];
  float* const mine = values + blockIdx.x * blockDim.x;
  shared[threadIdx.x] = mine[threadIdx.x];
  __syncthreads();
  mine[threadIdx.x] = shared[blockDim.x - 1 - threadIdx.x];
}

template <typename T>
__global__ void __launch_bounds__(128) fill(T* values, int count, T value) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) values[i] = value;
}

}  // namespace

void launch_saxpy(int count, float a, const float* x, float* y, cudaStream_t stream) {
  saxpy<<<(count + 127) / 128, 128, 0, stream>>>(count, a, x, y);
}

void launch_reverse(float* values, int num_blocks, int block_size, cudaStream_t stream) {
  reverse<<<num_blocks, block_size, block_size * sizeof(float), stream>>>(values);
}

void launch_fill(float* values, int count, float value, int block_size, cudaStream_t stream) {
  fill<float><<<(count + block_size - 1) / block_size, block_size, 0, stream>>>(values, count, value);
}

const void* reverse_kernel() {
  return reinterpret_cast<const void*>(&reverse);
}
const void* fill_kernel() {
  return reinterpret_cast<const void*>(&fill<float>);
}

}  // namespace triptych::emulator
