#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "base/philox.h"
#include "device/stream.h"
#include "kernels/sum_target.h"

namespace triptych::kernels {

/// Which elements of the global activation [global batch, seq_total, cols] a rank holds, and how they drop out. Element
/// (b, s, c) of the rank is dropped if philox_uniform(key, i) < p with
/// i = ((batch_begin + b) * seq_total + seq_begin + s) * cols + c, so that any sharding draws the same mask.
///
/// Stochastic depth (Huang et al. 2016) drops the branch of a whole sample besides: of sample b if
/// philox_uniform(path_key, batch_begin + b) < path_p.
struct DropoutArgs {
  int64_t batch = 0;
  int64_t seq = 0;
  int64_t cols = 0;
  int64_t batch_begin = 0;
  int64_t seq_begin = 0;
  int64_t seq_total = 0;  ///< >= seq_begin + seq
  RandomKey key;
  float p = 0.0f;  ///< in [0, 1); 0 draws nothing
  RandomKey path_key;
  float path_p = 0.0f;  ///< likewise

  bool drops() const { return p > 0.0f || path_p > 0.0f; }
};

struct ResidualForwardArgs {
  const void* x = nullptr;      ///< dtype [batch, seq, cols]
  const void* z = nullptr;      ///< z_dtype [batch, seq, cols]
  const float* bias = nullptr;  ///< [cols] or null
  void* out = nullptr;          ///< dtype [batch, seq, cols]; may be x, or z if the dtypes agree
  DType dtype = DType::kFloat32;
  DType z_dtype = DType::kFloat32;
  DropoutArgs dropout;
};

/// out = x + dropout(z + bias); what stays is multiplied by 1 / (1 - p), and of a sample that stays by 1 / (1 -
/// path_p).
void residual_forward(Stream& stream, const ResidualForwardArgs& args);

struct ResidualBackwardArgs {
  const void* dout = nullptr;  ///< dtype [batch, seq, cols]
  void* dz = nullptr;          ///< dtype [batch, seq, cols], assigned; may be dout. Null if nothing drops: it is dout
  SumTarget dbias;             ///< [cols], the sum over rows of dz
  DType dtype = DType::kFloat32;
  DropoutArgs dropout;
};

/// dz = dout times the forward's factors, drawn again; x's gradient is dout itself. Uses the stream's scratch.
void residual_backward(Stream& stream, const ResidualBackwardArgs& args);

}  // namespace triptych::kernels
