#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

struct PoolForwardArgs {
  const void* x = nullptr;           ///< dtype [batch, seq, cols]
  const int32_t* lengths = nullptr;  ///< [batch], each in [0, seq], or null: all of seq
  void* out = nullptr;               ///< out_dtype [batch, cols]
  int64_t batch = 0;
  int64_t seq = 0;
  int64_t cols = 0;
  DType dtype = DType::kFloat32;
  DType out_dtype = DType::kFloat32;
};

struct PoolBackwardArgs {
  const void* dout = nullptr;        ///< out_dtype [batch, cols]
  const int32_t* lengths = nullptr;  ///< as in the forward
  void* dx = nullptr;                ///< dtype [batch, seq, cols], assigned everywhere
  int64_t batch = 0;
  int64_t seq = 0;
  int64_t cols = 0;
  DType dtype = DType::kFloat32;
  DType out_dtype = DType::kFloat32;
};

/// out[b] = the mean of x[b, s] over s < lengths[b]; zeros if that is 0.
/// Lengths outside of [0, seq]: on the CPU InternalError; on a GPU, where the host does not see them, the sample is
/// NaN.
void mean_pool(Stream& stream, const PoolForwardArgs& args);
/// dx[b, s] = dout[b] / lengths[b] for s < lengths[b], zeros elsewhere.
void mean_pool_backward(Stream& stream, const PoolBackwardArgs& args);

}  // namespace triptych::kernels
