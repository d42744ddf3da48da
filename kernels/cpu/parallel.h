#pragma once

#include <algorithm>
#include <cstdint>

#include "base/dtype.h"
#include "base/error.h"
#include "device/stream.h"

namespace triptych::kernels::cpu {

/// About this many elements make a piece worth a thread: some microseconds of work against about one to wake it.
inline constexpr int64_t kGrainElements = 16384;

/// Rows of `cols` elements that make a piece worth a thread.
inline int64_t grain_rows(int64_t cols) {
  return std::max<int64_t>(1, kGrainElements / std::max<int64_t>(1, cols));
}

/// Calls f(begin, end) over [0, n) on up to stream.num_threads() threads, in contiguous pieces that begin at multiples
/// of `grain`. f must give results that do not depend on where the pieces begin, and must not throw.
template <typename F>
void parallel_ranges(const Stream& stream, int64_t n, int64_t grain, const F& f) {
  if (n <= 0) return;
  const int64_t num_grains = (n + grain - 1) / grain;
  const int64_t num_pieces = std::min<int64_t>(stream.num_threads(), num_grains);
  if (num_pieces <= 1) {
    f(int64_t{0}, n);
    return;
  }
#pragma omp parallel for num_threads(static_cast <int>(num_pieces)) schedule(static, 1)
  for (int64_t piece = 0; piece < num_pieces; ++piece) {
    const int64_t begin = num_grains * piece / num_pieces * grain;
    const int64_t end = std::min(n, num_grains * (piece + 1) / num_pieces * grain);
    if (begin < end) f(begin, end);
  }
}

/// Throws InternalError "[kernel] has no CPU implementation for float16" for all but float32 and bfloat16.
inline void check_float_dtype(DType dtype, const char* kernel) {
  if (dtype != DType::kFloat32 && dtype != DType::kBFloat16) {
    throw InternalError(kernel, fmt::format("has no CPU implementation for {}", dtype_name(dtype)));
  }
}

}  // namespace triptych::kernels::cpu
