#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

/// Which tokens are gathered.
struct GatheredTokens {
  const int32_t* index = nullptr;  ///< [batch, count], or null: all 0
  int32_t offset = 0;              ///< added to every index that is not negative; the sums are in [0, seq)
  int64_t batch = 0;
  int64_t seq = 0;
  int64_t count = 1;
  int64_t cols = 0;
};

struct GatherForwardArgs {
  const void* x = nullptr;  ///< dtype [batch, seq, cols]
  void* out = nullptr;      ///< out_dtype [batch, count, cols]
  GatheredTokens tokens;
  DType dtype = DType::kFloat32;      ///< float32, bfloat16 or (on a GPU) float16
  DType out_dtype = DType::kFloat32;  ///< likewise
};

struct GatherBackwardArgs {
  const void* dout = nullptr;  ///< out_dtype [batch, count, cols]
  void* dx = nullptr;          ///< dtype [batch, seq, cols], assigned everywhere
  GatheredTokens tokens;       ///< as in the forward
  DType dtype = DType::kFloat32;
  DType out_dtype = DType::kFloat32;
};

/// out[b, i] = x[b, index[b, i] + offset], and zeros where index[b, i] is negative.
///
/// On the CPU throws InternalError if a sum of index and offset is outside of [0, seq); on a GPU, where the host does
/// not see it, such a token is read as NaN.
void gather_tokens(Stream& stream, const GatherForwardArgs& args);

/// dx[b, s] = the sum over i of dout[b, i] where index[b, i] + offset is s, in float32, in the order of i, rounded
/// once; zeros where there is none. A broken contract is refused as by the forward; on a GPU it makes the sample NaN.
void gather_tokens_backward(Stream& stream, const GatherBackwardArgs& args);

struct PickForwardArgs {
  const void* x = nullptr;         ///< dtype [rows, cols]
  const int32_t* index = nullptr;  ///< [rows], each below cols
  float* y = nullptr;              ///< [rows]
  int64_t rows = 0;
  int64_t cols = 0;
  DType dtype = DType::kFloat32;
};

struct PickBackwardArgs {
  const float* dy = nullptr;       ///< [rows]
  const int32_t* index = nullptr;  ///< as in the forward
  void* dx = nullptr;              ///< dtype [rows, cols], assigned everywhere
  int64_t rows = 0;
  int64_t cols = 0;
  DType dtype = DType::kFloat32;
};

/// y[r] = x[r, index[r]], and 0 where index[r] is negative: gather_tokens of one element a row, with its errors.
inline void pick(Stream& stream, const PickForwardArgs& args) {
  gather_tokens(stream, {.x = args.x,
                         .out = args.y,
                         .tokens = {.index = args.index, .batch = args.rows, .seq = args.cols, .cols = 1},
                         .dtype = args.dtype});
}

/// dx[r, index[r]] = dy[r], zeros elsewhere.
inline void pick_backward(Stream& stream, const PickBackwardArgs& args) {
  gather_tokens_backward(stream, {.dout = args.dy,
                                  .dx = args.dx,
                                  .tokens = {.index = args.index, .batch = args.rows, .seq = args.cols, .cols = 1},
                                  .dtype = args.dtype});
}

}  // namespace triptych::kernels
