// What the device code of all kernel families shares: storage types and float32 arithmetic, 16-byte accesses, sums in a
// fixed order, grids, and the dispatch by DType.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <type_traits>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "base/dtype.h"
#include "device/cuda/launch.h"
#include "kernels/cuda/unimplemented.h"

namespace triptych::kernels::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kFullMask = 0xffffffffu;

/// Threads of a block in kernels without a reason for another number: 8 blocks fill an SM's 2048 threads, which with a
/// 16-byte load each keep 32 KiB on their way, twice what hides HBM's latency.
inline constexpr int kBlockThreads = 256;

template <typename T>
struct TypeTag {
  using Type = T;
};

/// f(TypeTag<float, __nv_bfloat16 or __half>()), the storage type of `dtype`.
/// `unimplemented` for every other.
template <typename F>
void with_float_type(DType dtype, std::string_view kernel, const F& f) {
  switch (dtype) {
    case DType::kFloat32:
      return f(TypeTag<float>());
    case DType::kBFloat16:
      return f(TypeTag<__nv_bfloat16>());
    case DType::kFloat16:
      return f(TypeTag<__half>());
    default:
      unimplemented(kernel, dtype);
  }
}

__device__ inline float to_float(float value) {
  return value;
}
__device__ inline float to_float(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
__device__ inline float to_float(__half value) {
  return __half2float(value);
}

/// Rounds to nearest, ties to even; a float16 that is too large becomes infinite.
template <typename T>
__device__ inline T from_float(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(value);
  } else {
    return __float2half_rn(value);
  }
}

/// How many elements make accesses of 16 bytes of the narrowest of the types, and whole ones of the others.
template <typename... T>
inline constexpr int kVectorSize = 16 / static_cast<int>(std::min({sizeof(T)...}));

/// Whether all of these are multiples of 16: addresses, and strides in bytes. Only then may a kernel load vectors.
inline bool aligned_16(std::initializer_list<const void*> addresses,
                       std::initializer_list<int64_t> strides_bytes = {}) {
  uint64_t bits = 0;
  for (const void* address : addresses) bits |= reinterpret_cast<uintptr_t>(address);
  for (const int64_t stride : strides_bytes) bits |= static_cast<uint64_t>(stride);
  return bits % 16 == 0;
}

/// N elements in registers, as what kernels compute with.
template <int N>
struct Floats {
  float values[N];
  __device__ float& operator[](int i) { return values[i]; }
  __device__ const float& operator[](int i) const { return values[i]; }
};

/// kWords 32-bit words by the widest accesses there are; `p` is aligned to 16 bytes or, if fewer, to their size.
template <int kWords>
__device__ inline void load_words(const void* p, uint32_t (&words)[kWords]) {
  static_assert(kWords == 1 || kWords == 2 || kWords % 4 == 0);
  if constexpr (kWords == 1) {
    words[0] = *static_cast<const uint32_t*>(p);
  } else if constexpr (kWords == 2) {
    const uint2 v = *static_cast<const uint2*>(p);
    words[0] = v.x, words[1] = v.y;
  } else {
#pragma unroll
    for (int i = 0; i < kWords; i += 4) {
      const uint4 v = static_cast<const uint4*>(p)[i / 4];
      words[i] = v.x, words[i + 1] = v.y, words[i + 2] = v.z, words[i + 3] = v.w;
    }
  }
}

template <int kWords>
__device__ inline void store_words(const uint32_t (&words)[kWords], void* p) {
  static_assert(kWords == 1 || kWords == 2 || kWords % 4 == 0);
  if constexpr (kWords == 1) {
    *static_cast<uint32_t*>(p) = words[0];
  } else if constexpr (kWords == 2) {
    *static_cast<uint2*>(p) = make_uint2(words[0], words[1]);
  } else {
#pragma unroll
    for (int i = 0; i < kWords; i += 4) {
      static_cast<uint4*>(p)[i / 4] = make_uint4(words[i], words[i + 1], words[i + 2], words[i + 3]);
    }
  }
}

/// The two elements of a word of 16-bit storage, the one at the lower address first.
template <typename T>
__device__ inline float2 unpack(uint32_t word) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u));
  } else {
    return make_float2(__half2float(__ushort_as_half(static_cast<uint16_t>(word))),
                       __half2float(__ushort_as_half(static_cast<uint16_t>(word >> 16))));
  }
}

template <typename T>
__device__ inline uint32_t pack(float first, float second) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    return __bfloat16_as_ushort(pair.x) | static_cast<uint32_t>(__bfloat16_as_ushort(pair.y)) << 16;
  } else {
    const __half2 pair = __floats2half2_rn(first, second);
    return __half_as_ushort(__low2half(pair)) | static_cast<uint32_t>(__half_as_ushort(__high2half(pair))) << 16;
  }
}

/// p[0 .. N), N = 1 or N elements of 4, 8 or a multiple of 16 bytes, aligned to their size or to 16 bytes.
template <int N, typename T>
__device__ inline Floats<N> load(const T* p) {
  Floats<N> result;
  if constexpr (N == 1) {
    result[0] = to_float(*p);
  } else {
    uint32_t words[N * sizeof(T) / 4];
    load_words(p, words);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if constexpr (sizeof(T) == 4) {
        result[i] = __uint_as_float(words[i]);
      } else if (i % 2 == 0) {
        const float2 pair = unpack<T>(words[i / 2]);
        result[i] = pair.x;
        result[i + 1] = pair.y;
      }
    }
  }
  return result;
}

/// The like of `load`, rounding to T.
template <int N, typename T>
__device__ inline void store(const Floats<N>& x, T* p) {
  if constexpr (N == 1) {
    *p = from_float<T>(x[0]);
  } else {
    uint32_t words[N * sizeof(T) / 4];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if constexpr (sizeof(T) == 4) {
        words[i] = __float_as_uint(x[i]);
      } else if (i % 2 == 0) {
        words[i / 2] = pack<T>(x[i], x[i + 1]);
      }
    }
    store_words(words, p);
  }
}

/// p[0 .. count) by single elements, and `beyond` from there to N: the end of an array, or any piece without alignment.
template <int N, typename T>
__device__ inline Floats<N> load_some(const T* p, int64_t count, float beyond = 0.0f) {
  Floats<N> result;
#pragma unroll
  for (int i = 0; i < N; ++i) result[i] = i < count ? to_float(p[i]) : beyond;
  return result;
}

template <int N, typename T>
__device__ inline void store_some(const Floats<N>& x, T* p, int64_t count) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (i < count) p[i] = from_float<T>(x[i]);
  }
}

/// What a thread takes of an array: N elements by vectors, or the first `count` of them by single elements at the
/// array's end and where the alignment allows no vectors.
template <int N>
struct Piece {
  int count;
  bool whole;
};

/// The piece that has `left` elements from its first one to the array's end.
template <int N>
__device__ inline Piece<N> piece_of(int64_t left, bool aligned) {
  return {left < N ? static_cast<int>(left) : N, aligned && left >= N};
}

/// `p` is the piece's first element. Zeros beyond the piece.
template <int N, typename T>
__device__ inline Floats<N> load(const T* p, Piece<N> piece) {
  return piece.whole ? load<N>(p) : load_some<N>(p, piece.count);
}

template <int N, typename T>
__device__ inline void store(const Floats<N>& x, T* p, Piece<N> piece) {
  if (piece.whole) {
    store<N>(x, p);
  } else {
    store_some<N>(x, p, piece.count);
  }
}

/// N elements as they are stored, which for 16-bit types takes half of the registers.
template <typename T, int N>
struct Packed {
  uint32_t words[N * sizeof(T) / 4];

  __device__ float operator[](int i) const {
    if constexpr (sizeof(T) == 4) {
      return __uint_as_float(words[i]);
    } else {
      const float2 pair = unpack<T>(words[i / 2]);
      return i % 2 == 0 ? pair.x : pair.y;
    }
  }
};

/// The like of `load`.
template <int N, typename T>
__device__ inline Packed<T, N> load_packed(const T* p, Piece<N> piece) {
  Packed<T, N> result;
  if (piece.whole) {
    load_words(p, result.words);
  } else {
    const Floats<N> values = load_some<N>(p, piece.count);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if constexpr (sizeof(T) == 4) {
        result.words[i] = __float_as_uint(values[i]);
      } else if (i % 2 == 0) {
        result.words[i / 2] = pack<T>(values[i], values[i + 1]);
      }
    }
  }
  return result;
}

/// Over the lanes of a warp, all of which take part and get the same bits.
template <typename V>
__device__ inline V warp_sum(V value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kFullMask, value, offset);
  return value;
}

template <typename V>
__device__ inline V warp_max(V value) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const V other = __shfl_xor_sync(kFullMask, value, offset);
    value = other > value ? other : value;
  }
  return value;
}

/// Over the kThreads threads of a block (a multiple of 32), all of which take part and get the same bits: the warps'
/// sums, added in their order. `shared` is kThreads / 32 values, free again when this returns.
template <int kThreads, typename V>
__device__ inline V block_sum(V value, V* shared) {
  value = warp_sum(value);
  if constexpr (kThreads > kWarpSize) {
    if (threadIdx.x % kWarpSize == 0) shared[threadIdx.x / kWarpSize] = value;
    __syncthreads();
    value = shared[0];
#pragma unroll
    for (int warp = 1; warp < kThreads / kWarpSize; ++warp) value += shared[warp];
    __syncthreads();
  }
  return value;
}

/// Enough for 64 waves on the largest of GPUs; what is beyond, a kernel's threads take in further turns.
inline constexpr int64_t kMaxBlocks = 1 << 16;

/// The number of blocks for `num_items` pieces of work of which a block takes `items_per_block` a turn: from 1 to
/// kMaxBlocks. Kernels go over the items with a stride of the whole grid, in 64-bit indices.
inline unsigned grid_blocks(int64_t num_items, int64_t items_per_block) {
  const int64_t blocks = num_items / items_per_block + (num_items % items_per_block != 0);
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks > kMaxBlocks ? kMaxBlocks : blocks);
}

__device__ inline int64_t grid_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline int64_t grid_threads() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

/// f(i, piece) for pieces of [0, n), i a multiple of N.
template <int N, typename F>
__global__ void __launch_bounds__(kBlockThreads) each_piece(F f, int64_t n, bool aligned) {
  for (int64_t i = grid_thread() * N; i < n; i += grid_threads() * N) f(i, piece_of<N>(n - i, aligned));
}

/// `aligned`: whether each array that f reaches may be loaded by vectors at multiples of N.
template <int N, typename F>
void launch_each_piece(Stream& stream, std::string_view kernel, int64_t n, bool aligned, const F& f) {
  if (n <= 0) return;
  each_piece<N><<<grid_blocks(n, int64_t{N} * kBlockThreads), kBlockThreads, 0, cuda_stream(stream)>>>(f, n, aligned);
  check_launch(kernel);
}

/// f(row, i, piece) for pieces of every row of [rows, cols], i a multiple of N. A power of two of threads shares a row,
/// so that short rows leave few of a block's idle, and nothing is divided. Three blocks a multiprocessor suffice: left
/// to itself the compiler wants more of them, and spills for it.
template <int N, typename F>
__global__ void __launch_bounds__(kBlockThreads, 3) each_row_piece(F f, int64_t rows, int64_t cols, bool aligned) {
  const int64_t first = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  const int64_t step = static_cast<int64_t>(gridDim.y) * blockDim.x * N;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; row < rows;
       row += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    for (int64_t i = first; i < cols; i += step) f(row, i, piece_of<N>(cols - i, aligned));
  }
}

/// `aligned`: whether each array that f reaches may be loaded by vectors at multiples of N in every row.
template <int N, typename F>
void launch_each_row_piece(Stream& stream, std::string_view kernel, int64_t rows, int64_t cols, bool aligned,
                           const F& f) {
  if (rows <= 0 || cols <= 0) return;
  const int64_t pieces = (cols + N - 1) / N;
  unsigned lanes = 1;
  while (lanes < pieces && lanes < kBlockThreads) lanes *= 2;
  const dim3 block(lanes, kBlockThreads / lanes);
  const dim3 grid(grid_blocks(rows, block.y), std::min(grid_blocks(pieces, block.x), 65535u));
  each_row_piece<N><<<grid, block, 0, cuda_stream(stream)>>>(f, rows, cols, aligned);
  check_launch(kernel);
}

}  // namespace triptych::kernels::cuda
