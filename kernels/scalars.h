#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

// Numbers of a step, a few at a time, that stay in device memory: counts, losses and their weights.

namespace triptych::kernels {

/// *count += the number of elements that are not negative: int32 (targets, labels), or uint8, of those that are not 0
/// (presence).
void count_present(Stream& stream, const void* values, DType dtype, int64_t n, double* count);

/// dst[i] += src[i].
void add_doubles(Stream& stream, double* dst, const double* src, int64_t n);

/// dst[i] = factor * src[i] / *by, or 0 where *by is 0: a mean over what is there. `dst` may be `src`.
void divide_doubles(Stream& stream, double* dst, const double* src, double factor, const double* by, int64_t n);

}  // namespace triptych::kernels
