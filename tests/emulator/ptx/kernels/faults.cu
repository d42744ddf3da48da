// Kernels with one fault each, and beside each what would be right.

#include <cstdint>

#include <cuda_pipeline_primitives.h>

extern "C" {

__global__ void read_at(float* to, const float* from, int offset) {
  to[threadIdx.x] = from[static_cast<int>(threadIdx.x) + offset];
}

__global__ void write_at(float* to, int offset) {
  to[static_cast<int>(threadIdx.x) + offset] = 1.0f;
}

__global__ void read_vector_at(float4* to, const float* from, int offset) {
  to[threadIdx.x] = *reinterpret_cast<const float4*>(from + 4 * threadIdx.x + offset);
}

__global__ void shared_index(float* to, int offset) {
  __shared__ float tile[32];
  __shared__ float other[32];
  tile[threadIdx.x] = 1.0f;
  other[threadIdx.x] = 2.0f;
  __syncthreads();
  to[threadIdx.x] = tile[static_cast<int>(threadIdx.x) + offset] + other[threadIdx.x];
}

__global__ void dynamic_shared_index(float* to, int offset) {
  extern __shared__ float dynamic[];
  dynamic[threadIdx.x] = 1.0f;
  __syncthreads();
  to[threadIdx.x] = dynamic[static_cast<int>(threadIdx.x) + offset];
}

__global__ void shared_uninitialised(float* to, int written) {
  __shared__ float tile[64];
  if (static_cast<int>(threadIdx.x) < written) tile[threadIdx.x] = 1.0f;
  __syncthreads();
  to[threadIdx.x] = tile[threadIdx.x];
}

__global__ void local_index(float* to, const int* indices, int written) {
  float values[16];
  for (int i = 0; i < written; ++i) values[indices[i] & 15] = static_cast<float>(i);
  to[threadIdx.x] = values[indices[threadIdx.x]];
}

// The neighbour's value: of another warp, or of the next lane.
__global__ void neighbour(int* to, int distance, int barrier) {
  __shared__ int tile[128];
  tile[threadIdx.x] = threadIdx.x;
  if (barrier == 1) __syncthreads();
  if (barrier == 2) __syncwarp();
  to[threadIdx.x] = tile[(threadIdx.x + distance) % 128];
}

// Reading, and then writing again: the second barrier keeps the readers safe.
__global__ void write_after_read(int* to, int barrier) {
  __shared__ int tile[128];
  int sum = 0;
  for (int round = 0; round < 3; ++round) {
    tile[threadIdx.x] = threadIdx.x + round;
    __syncthreads();
    sum += tile[(threadIdx.x + 40) % 128];
    if (barrier != 0) __syncthreads();
  }
  to[threadIdx.x] = sum;
}

// Half-warps that synchronise among themselves.
__global__ void half_warps(int* to, unsigned distance) {
  __shared__ int tile[32];
  const unsigned mask = threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u;
  tile[threadIdx.x] = threadIdx.x;
  __syncwarp(mask);
  to[threadIdx.x] = tile[(threadIdx.x + distance) % 32];
}

__global__ void shuffle_is_no_barrier(int* to) {
  __shared__ int tile[32];
  tile[threadIdx.x] = threadIdx.x;
  const int other = __shfl_xor_sync(0xffffffffu, threadIdx.x, 1);
  to[threadIdx.x] = tile[other];
}

__global__ void same_place(int* to, int values_differ, int atomic) {
  __shared__ int place;
  if (atomic != 0) {
    if (threadIdx.x == 0) place = 0;
    __syncthreads();
    atomicAdd(&place, 1);
  } else {
    place = values_differ != 0 ? static_cast<int>(threadIdx.x) : 7;
  }
  __syncthreads();
  to[threadIdx.x] = place;
}

__global__ void bytes_of_a_word(unsigned char* to) {
  __shared__ unsigned char tile[128];
  tile[threadIdx.x] = static_cast<unsigned char>(threadIdx.x);
  tile[threadIdx.x] += 1;
  to[threadIdx.x] = tile[threadIdx.x];
}

// The same in global memory.
__global__ void global_neighbour(int* to, int* tile, int distance, int barrier) {
  tile[threadIdx.x] = threadIdx.x;
  if (barrier == 1) __syncthreads();
  if (barrier == 2) __syncwarp();
  to[threadIdx.x] = tile[(threadIdx.x + distance) % 128];
}

__global__ void global_write_after_read(int* to, int* tile, int barrier) {
  int sum = 0;
  for (int round = 0; round < 3; ++round) {
    tile[threadIdx.x] = threadIdx.x + round;
    __syncthreads();
    sum += tile[(threadIdx.x + 40) % 128];
    if (barrier != 0) __syncthreads();
  }
  to[threadIdx.x] = sum;
}

__global__ void global_same_place(int* place, int values_differ, int atomic) {
  if (atomic != 0) {
    atomicAdd(place, 1);
    if (atomic == 2) *static_cast<volatile int*>(place) = 1;
    if (atomic == 3) *place = 1;
  } else {
    *place = values_differ != 0 ? static_cast<int>(threadIdx.x) : 7;
  }
}

__global__ void global_half_warps(int* to, int* tile, unsigned distance) {
  const unsigned mask = threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u;
  tile[threadIdx.x] = threadIdx.x;
  __syncwarp(mask);
  to[threadIdx.x] = tile[(threadIdx.x + distance) % 32];
}

// What every thread has to itself: in place, as vectors and as parts of words.
__global__ void global_in_place(float4* vectors, unsigned short* halves) {
  vectors[threadIdx.x].y = 2.0f * vectors[threadIdx.x].x;
  halves[threadIdx.x] += 1;
}

__global__ void global_overlap(unsigned short* halves, int offset) {
  halves[threadIdx.x] = static_cast<unsigned short>(threadIdx.x);
  if (threadIdx.x == 0) *reinterpret_cast<unsigned char*>(halves + offset) = 1;
}

// The warp that is the last to finish adds up, with no barrier.
__global__ void last_warp(int* total, int* sums, unsigned* counter, int fence) {
  const bool is_first = threadIdx.x % 32 == 0;
  sums[threadIdx.x] = 1;
  __syncwarp();
  unsigned position = 0;
  if (is_first) {
    if (fence != 0) __threadfence_block();
    position = atomicAdd(counter, 1u);
  }
  if (__shfl_sync(0xffffffffu, position, 0) != blockDim.x / 32 - 1) return;
  __threadfence_block();
  if (!is_first) return;
  int sum = 0;
  for (unsigned i = 0; i < blockDim.x; ++i) sum += sums[i];
  *total = sum;
  *counter = 0;
}

__global__ void overlapping_blocks(float* to, int stride) {
  to[blockIdx.x * stride + threadIdx.x] = 1.0f;
}

__global__ void read_other_block(float* data, int distance) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  const int n = gridDim.x * blockDim.x;
  data[i] = 1.0f + data[(i + distance) % n];
}

__global__ void poll(unsigned* to, unsigned* flag, int how) {
  if (threadIdx.x != 0) return;
  to[blockIdx.x] = *static_cast<volatile unsigned*>(flag);
  if (how == 1) atomicAdd(flag, 1u);
  if (how == 0 && blockIdx.x == 0) *flag = 1;
}

__global__ void chain_of_blocks(float* data) {
  data[blockIdx.x] = static_cast<float>(blockIdx.x);
  if (threadIdx.x == 1) data[64] = data[blockIdx.x == 0 ? 3 : blockIdx.x - 1];
}

__global__ void last_block(float* total, float* sums, unsigned* counter, int fence) {
  __shared__ bool is_last;
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = 1.0f;
    if (fence != 0) __threadfence();
    is_last = atomicAdd(counter, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!is_last || threadIdx.x != 0) return;
  float sum = 0.0f;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += sums[i];
  *total = sum;
}

__global__ void divergent_barrier(int* to, int limit) {
  if (static_cast<int>(threadIdx.x) < limit) __syncthreads();
  to[threadIdx.x] = 1;
}

__global__ void exits_before_barrier(int* to, int limit) {
  if (static_cast<int>(threadIdx.x) >= limit) return;
  __syncthreads();
  to[threadIdx.x] = 1;
}

__global__ void two_barriers(int* to, int limit) {
  if (static_cast<int>(threadIdx.x) < limit) {
    __syncthreads();
    to[threadIdx.x] = 1;
  } else {
    to[threadIdx.x] = 2;
    __syncthreads();
  }
}

__global__ void divergent_shuffle(int* to, int limit) {
  int value = threadIdx.x;
  if (static_cast<int>(threadIdx.x) < limit) value += __shfl_xor_sync(0xffffffffu, value, 1);
  to[threadIdx.x] = value;
}

__global__ void shuffle_beyond_mask(int* to, unsigned mask, int offset) {
  int value = threadIdx.x;
  if ((mask >> threadIdx.x % 32 & 1) != 0) value += __shfl_xor_sync(mask, value, offset);
  to[threadIdx.x] = value;
}

__global__ void __launch_bounds__(64) bounded(int* to) {
  to[threadIdx.x] = 1;
}

__global__ void asynchronous(int* to, const int4* from, int wait, int barrier) {
  __shared__ int4 tile[64];
  __pipeline_memcpy_async(&tile[threadIdx.x], &from[threadIdx.x], 16);
  __pipeline_commit();
  if (wait != 0) __pipeline_wait_prior(0);
  if (barrier != 0) __syncthreads();
  to[threadIdx.x] = tile[63 - threadIdx.x].x;
}

// Two buffers: the copy into one is under way while the other is read.
__global__ void double_buffer(int* to, const int4* from, int rounds, int last_barrier) {
  __shared__ int4 tile[2][64];
  __pipeline_memcpy_async(&tile[0][threadIdx.x], &from[threadIdx.x], 16);
  __pipeline_commit();
  int sum = 0;
  for (int round = 0; round < rounds; ++round) {
    if (round + 1 < rounds) {
      __pipeline_memcpy_async(&tile[(round + 1) % 2][threadIdx.x], &from[64 * (round + 1) + threadIdx.x], 16);
    }
    __pipeline_commit();
    __pipeline_wait_prior(1);
    __syncthreads();
    sum += tile[round % 2][63 - threadIdx.x].x;
    if (last_barrier != 0) __syncthreads();
  }
  to[threadIdx.x] = sum;
}

}  // extern "C"
