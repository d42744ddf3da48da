#pragma once

#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "parallel/group.h"

namespace triptych::parallel {

/// out[i] = sources[0][i] (+ or max) sources[1][i] ..., in this order. `out` may be one of the sources.
/// Types: float32, float64, int32, int64.
void reduce_rows(std::span<const void* const> sources, void* out, int64_t count, DType dtype, ReduceOp reduce);

}  // namespace triptych::parallel
