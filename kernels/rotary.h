#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

struct RotaryArgs {
  const void* x = nullptr;  ///< dtype [batch, seq, parts, cols]
  void* y = nullptr;        ///< dtype [batch, seq, parts, cols], assigned; may be x
  /// [seq, head_dim]: for each position the cosines of head_dim / 2 angles, then their sines.
  const float* table = nullptr;
  int64_t batch = 0;
  int64_t seq = 0;
  int64_t parts = 1;              ///< arrays side by side: 3 of queries, keys and values
  int64_t rotated = 1;            ///< so many of them are rotated, the first ones; the others are copied
  int64_t cols = 0;               ///< heads * head_dim
  int64_t head_dim = 0;           ///< even
  bool inverse = false;           ///< by the negative angles: the gradient's way
  DType dtype = DType::kFloat32;  ///< float32, bfloat16 or (on a GPU) float16
};

/// Turns pairs of elements of every head by the angles t of their position. The pairs are elements i and i + head_dim /
/// 2, the halves' convention of GPT-NeoX and Llama as `transformers` has it (the paper's pairs are neighbours, 2 i and
/// 2 i + 1):
///
///   y[i] = x[i] cos t_i - x[i + D/2] sin t_i        y[i + D/2] = x[i + D/2] cos t_i + x[i] sin t_i
///
/// Source: Su et al. 2021, RoFormer, equation 34.
void rotary(Stream& stream, const RotaryArgs& args);

}  // namespace triptych::kernels
