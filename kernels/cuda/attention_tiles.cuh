// What the forward and the backward of attention share: the mask, tiles of a head's tokens in shared memory, launches.
#pragma once

#include <cstdint>
#include <numbers>

#include "base/checked.h"
#include "base/error.h"
#include "device/cuda/handles.h"
#include "kernels/attention.h"
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/ptx.cuh"

namespace triptych::kernels::cuda {

inline constexpr int64_t kMaxAttentionHeadDim = 128;
/// A launch bound of the kernels with tiles. Without it ptxas spills some registers, to have more blocks on an SM.
inline constexpr int kMinBlocksPerSm = 1;
/// Shared memory of a block that every GPU has of those that the kernels run on (8.6, 8.9 and 12.0 have no more): every
/// kernel has tiles that fit.
inline constexpr std::size_t kLeastSharedBytes = 99 << 10;
inline constexpr float kLog2E = std::numbers::log2e_v<float>;

/// The keys that a query may see are always the first so many: the mask of one sample.
class VisibleKeys {
 public:
  __device__ VisibleKeys(const AttentionShape& shape, int64_t sample)
      : causal_(shape.causal),
        offset_(static_cast<int>(shape.num_keys - shape.num_queries)),
        length_(static_cast<int>(shape.num_keys)) {
    if (shape.key_lengths != nullptr) {
      length_ = min(max(shape.key_lengths[sample] - static_cast<int>(shape.first_key), 0), length_);
    }
  }
  /// Never decreases with the query.
  __device__ int operator()(int query) const { return causal_ ? min(max(query + 1 + offset_, 0), length_) : length_; }
  /// The first query that sees a key which some query sees.
  __device__ int first_query(int key) const { return causal_ ? max(0, key - offset_) : 0; }
  __device__ int length() const { return length_; }

 private:
  bool causal_;
  int offset_;
  int length_;
};

/// One head's tokens of a [B, S, N, D] array.
template <typename T>
struct HeadTokens {
  __device__ HeadTokens(const void* base, const AttentionStrides& strides, int64_t sample, int64_t head,
                        int64_t num_tokens, const AttentionShape& shape, bool aligned_)
      : begin(static_cast<T*>(const_cast<void*>(base)) + sample * strides.batch + head * strides.head),
        stride(strides.token),
        count(static_cast<int>(num_tokens)),
        head_dim(static_cast<int>(shape.head_dim)),
        aligned(aligned_) {}

  T* begin;
  int64_t stride;
  int count;
  int head_dim;
  bool aligned;  ///< every token begins at a multiple of 16 bytes
};

/// Calls f(row, d, count, in_tile) for 16-byte pieces of a tile of kRows tokens, shared out to the block's threads:
/// `count` of the piece's elements exist, the others are beyond the head or the tokens.
template <typename Math, int kRows, typename F>
__device__ inline void for_pieces_of_tile(const HeadTokens<typename Math::T>& tokens, int first_token, const F& f) {
  constexpr int kPiece = 16 / sizeof(typename Math::T), kPieces = Math::kDim / kPiece;
#pragma unroll 4
  for (int i = threadIdx.x; i < kRows * kPieces; i += Math::kThreads) {
    const int row = i / kPieces, d = i % kPieces * kPiece;
    const int left = first_token + row < tokens.count ? tokens.head_dim - d : 0;
    f(tokens.begin + (first_token + row) * tokens.stride + d, max(0, min(left, kPiece)), row * Math::kStride + d);
  }
}

/// tile[row, d] = tokens[first_token + row, d], zeros beyond the head's dim and the tokens. Where the alignment allows,
/// starts copies that belong to the thread's next group.
template <typename Math, int kRows>
__device__ inline void load_tile(const HeadTokens<typename Math::T>& tokens, int first_token,
                                 typename Math::T* __restrict__ tile) {
  using T = typename Math::T;
  for_pieces_of_tile<Math, kRows>(tokens, first_token, [&](const T* from, int count, int at) {
    if (tokens.aligned) {
      copy_16_async(tile + at, count > 0 ? from : tokens.begin, count * static_cast<int>(sizeof(T)));
    } else {
      constexpr int kPiece = 16 / sizeof(T);
      store<kPiece>(load_some<kPiece>(from, count), tile + at);
    }
  });
}

/// The other way, for what exists.
template <typename Math, int kRows>
__device__ inline void store_tile(const typename Math::T* tile, const HeadTokens<typename Math::T>& tokens,
                                  int first_token) {
  using T = typename Math::T;
  for_pieces_of_tile<Math, kRows>(tokens, first_token, [&](T* to, int count, int at) {
    constexpr int kPiece = 16 / sizeof(T);
    const Floats<kPiece> values = load<kPiece>(tile + at);
    store(values, to, Piece<kPiece>{count, tokens.aligned && count == kPiece});
  });
}

/// What a block of threads works on: a tile of the rows of one head. Blocks start in their order, so those that have
/// the most to do under a causal mask come first: the last queries, which see the most keys, and the first keys.
struct TileOfHead {
  __device__ TileOfHead(const AttentionShape& shape, int num_tiles, bool last_first)
      : tile(static_cast<int>(blockIdx.x % static_cast<unsigned>(num_tiles))),
        index(blockIdx.x / static_cast<unsigned>(num_tiles)),
        sample(index / shape.num_heads),
        head(index % shape.num_heads) {
    if (last_first) tile = num_tiles - 1 - tile;
  }
  int tile;
  int64_t index, sample, head;
};

inline void check_attention(const AttentionShape& shape) {
  TRIPTYCH_CHECK(shape.head_dim >= 1 && shape.head_dim <= kMaxAttentionHeadDim, "head_dim {}, at most {}",
                 shape.head_dim, kMaxAttentionHeadDim);
  constexpr int64_t kMaxTokens = 1 << 30;
  TRIPTYCH_CHECK(shape.batch >= 0 && shape.num_heads >= 0 && shape.num_queries >= 0 && shape.num_keys >= 0 &&
                     shape.num_queries <= kMaxTokens && shape.num_keys <= kMaxTokens,
                 "batch {}, heads {}, queries {}, keys {}", shape.batch, shape.num_heads, shape.num_queries,
                 shape.num_keys);
}

/// Whether every token of a head begins at a multiple of 16 bytes.
inline bool tokens_are_aligned(const void* base, const AttentionStrides& strides, DType dtype) {
  const auto bytes = static_cast<int64_t>(dtype_bytes(dtype));
  return aligned_16({base}, {strides.batch * bytes, strides.token * bytes, strides.head * bytes});
}

/// The most shared memory that a block may have on the GPU that the thread is bound to.
inline std::size_t most_shared_bytes() {
  int gpu = 0, bytes = 0;
  TRIPTYCH_CUDA(cudaGetDevice(&gpu));
  TRIPTYCH_CUDA(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, gpu));
  return static_cast<std::size_t>(bytes);
}

/// f(std::integral_constant<int, kDim>) with the least size of tiles that holds a head.
template <typename F>
void with_tile_dim(int64_t head_dim, const F& f) {
  if (head_dim <= 32) {
    f(std::integral_constant<int, 32>());
  } else if (head_dim <= 64) {
    f(std::integral_constant<int, 64>());
  } else if (head_dim <= 96) {
    f(std::integral_constant<int, 96>());
  } else {
    f(std::integral_constant<int, 128>());
  }
}

/// Launches a block for every tile of kRows of the `num_tokens` of each head; nothing if there is none.
template <int kRows, int kThreads, typename Call>
void launch_tiles(Stream& stream, void (*kernel)(Call, int, bool), const Call& call, int64_t num_tokens, bool aligned,
                  std::size_t shared_bytes, std::string_view name) {
  const int64_t num_tiles = ceil_div(num_tokens, kRows);
  const int64_t num_blocks = num_tiles * call.shape.batch * call.shape.num_heads;
  if (num_blocks == 0) return;
  TRIPTYCH_CHECK(num_blocks <= INT32_MAX, "{} tiles of {} samples with {} heads", num_tiles, call.shape.batch,
                 call.shape.num_heads);
  constexpr std::size_t kWithoutOptIn = 48 << 10;
  if (shared_bytes > kWithoutOptIn) {
    TRIPTYCH_CUDA(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)));
  }
  kernel<<<static_cast<unsigned>(num_blocks), kThreads, shared_bytes, cuda_stream(stream)>>>(
      call, static_cast<int>(num_tiles), aligned);
  check_launch(name);
}

}  // namespace triptych::kernels::cuda
