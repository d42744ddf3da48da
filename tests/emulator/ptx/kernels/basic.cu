// Kernels of the emulator's own tests.

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" {

__global__ void axpy(float* y, const float* x, float a, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] += a * x[i];
}

__global__ void copy_vectors(float4* to, const float4* from, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) to[i] = from[i];
}

// The sum of each block's 256 values, by shuffles and shared memory.
__global__ void __launch_bounds__(256) block_sum(float* sums, const float* x, int n) {
  __shared__ float partial[8];
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  float value = i < n ? x[i] : 0.0f;
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x < 32) {
    value = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0.0f;
    for (int offset = 4; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
    if (threadIdx.x == 0) sums[blockIdx.x] = value;
  }
}

__global__ void functions(float* y, const float* x, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float v = x[i];
  float* row = y + 16 * i;
  row[0] = expf(v);
  row[1] = logf(fabsf(v));
  row[2] = tanhf(v);
  row[3] = erff(v);
  row[4] = sinf(v);
  row[5] = cosf(v * 1000.0f);
  row[6] = sqrtf(fabsf(v));
  row[7] = rsqrtf(fabsf(v));
  row[8] = 1.0f / v;
  row[9] = powf(fabsf(v), 1.7f);
  row[10] = expm1f(v);
  row[11] = log1pf(fabsf(v));
  row[12] = static_cast<float>(exp(static_cast<double>(v)));
  row[13] = cbrtf(v);
  row[14] = floorf(v) + ceilf(v) + rintf(v) + truncf(v);
  row[15] = fmodf(v, 0.37f);
}

__device__ __noinline__ float weighted_sum(const float* values, int count, float weight) {
  float sum = 0.0f;
  for (int i = 0; i < count; ++i) sum += values[i] * weight;
  return sum;
}

struct Table {
  const float* values;
  int counts[20];
  double scale;
};

// Calls with arguments in parameter space, an array in local memory, a switch, a generic pointer to shared memory.
__global__ void calls(float* y, Table table, int n) {
  __shared__ float copy[32];
  copy[threadIdx.x] = table.values[threadIdx.x];
  __syncthreads();
  float local[8];
  for (int i = 0; i < 8; ++i) local[i] = copy[(threadIdx.x + i) % 32];
  const float* source = threadIdx.x % 2 == 0 ? copy : table.values;
  float result = local[n % 8] + static_cast<float>(table.scale);
  if (threadIdx.x >= 8) result += weighted_sum(source, table.counts[threadIdx.x % 20], 2.0f);
  switch (threadIdx.x % 6) {
    case 0:
      result += 100.0f;
      break;
    case 1:
      result *= 3.0f;
      break;
    case 2:
      result -= 7.0f;
      break;
    case 3:
      result = -result;
      break;
    case 4:
      result /= 3.0f;
      break;
    default:
      result += 0.5f;
      break;
  }
  y[threadIdx.x] = result;
}

__global__ void halves(__nv_bfloat16* b, __half* h, const float* x, int n) {
  const int i = threadIdx.x;
  if (2 * i + 1 >= n) return;
  const __nv_bfloat162 pair = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
  reinterpret_cast<__nv_bfloat162*>(b)[i] = __hfma2(pair, pair, __float2bfloat162_rn(1.0f));
  const __half2 half_pair = __floats2half2_rn(x[2 * i], x[2 * i + 1]);
  reinterpret_cast<__half2*>(h)[i] = __hadd2(__hmul2(half_pair, half_pair), __float2half2_rn(1.0f));
}

__global__ void histogram(unsigned* counts, const unsigned* x, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    atomicAdd(counts + x[i] % 16, 1u);
}

// The last block to finish adds the others' sums: fence, atomic counter, barrier.
__global__ void last_block_sum(float* total, float* sums, unsigned* counter, const float* x, int n) {
  __shared__ bool is_last;
  if (threadIdx.x == 0) {
    float sum = 0.0f;
    for (int i = blockIdx.x; i < n; i += gridDim.x) sum += x[i];
    sums[blockIdx.x] = sum;
    __threadfence();
    is_last = atomicInc(counter, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (!is_last || threadIdx.x != 0) return;
  float sum = 0.0f;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += sums[i];
  *total = sum;
  *counter = 0;
}

__global__ void votes(unsigned* y, const int* x) {
  const int v = x[threadIdx.x];
  unsigned* row = y + 8 * threadIdx.x;
  row[0] = __ballot_sync(0xffffffffu, v > 0);
  row[1] = __any_sync(0xffffffffu, v > 5) + 2 * __all_sync(0xffffffffu, v > -100);
  row[2] = __match_any_sync(0xffffffffu, v);
  row[3] = __reduce_add_sync(0xffffffffu, v);
  row[4] = static_cast<unsigned>(__reduce_min_sync(0xffffffffu, v));
  row[5] = __syncthreads_count(v > 0);
  row[6] = __syncthreads_or(v == 3) + 2 * __syncthreads_and(v < 100);
  row[7] = __shfl_up_sync(0xffffffffu, v, 3, 16) + __shfl_sync(0xffffffffu, v, 5, 8);
}

__global__ void integers(long long* y, const long long* x, int n) {
  const int i = threadIdx.x;
  if (i + 1 >= n) return;
  const long long a = x[i], b = x[i + 1];
  long long* row = y + 12 * i;
  row[0] = b != 0 ? a / b : 0;
  row[1] = b != 0 ? a % b : 0;
  row[2] = __mul64hi(a, b);
  row[3] = __umulhi(static_cast<unsigned>(a), static_cast<unsigned>(b));
  row[4] = __popcll(a) + __clzll(b) + __ffsll(a);
  row[5] = static_cast<long long>(__brevll(a));
  row[6] = __byte_perm(static_cast<unsigned>(a), static_cast<unsigned>(b), 0x5246);
  row[7] = __funnelshift_r(static_cast<unsigned>(a), static_cast<unsigned>(b), 7);
  row[8] = static_cast<short>(a) * static_cast<signed char>(b);
  row[9] = min(max(a, b), 1000ll);
  row[10] = a >> (b & 63);
  row[11] = static_cast<long long>(static_cast<double>(a) * 1e-3) + static_cast<int>(static_cast<float>(b));
}

__global__ void arrival_order(unsigned* order, unsigned* counter) {
  if (threadIdx.x % 32 == 0) order[atomicAdd(counter, 1u)] = blockIdx.x * blockDim.x + threadIdx.x;
}

}  // extern "C"
