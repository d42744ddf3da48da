#pragma once

#include <cstdint>

#include "base/philox.h"
#include "device/stream.h"

namespace triptych::kernels {

struct FillNormalArgs {
  float* out = nullptr;  ///< [rows, cols], contiguous: a rank's window of the global tensor
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t begin = 0;       ///< global element index of out[0]
  int64_t row_stride = 0;  ///< global elements from a row to the next
  RandomKey key;
  float mean = 0.0f;
  float std = 1.0f;
};

/// out[r, c] = mean + std * philox_normal(key, begin + r * row_stride + c), within a few float32 roundings of the
/// double computation; the bits depend on the key and the global index alone. For a slice in several dimensions, call
/// it per outer index.
void fill_normal(Stream& stream, const FillNormalArgs& args);

}  // namespace triptych::kernels
