#pragma once

#include <cuda_runtime_api.h>

namespace triptych::emulator {

/// y = a * x + y
void launch_saxpy(int count, float a, const float* x, float* y, cudaStream_t stream);
/// Each block reverses its `block_size` elements through dynamic shared memory.
void launch_reverse(float* values, int num_blocks, int block_size, cudaStream_t stream);
/// With __launch_bounds__(128).
void launch_fill(float* values, int count, float value, int block_size, cudaStream_t stream);

const void* reverse_kernel();
const void* fill_kernel();

}  // namespace triptych::emulator
