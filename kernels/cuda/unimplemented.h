#pragma once

#include <string_view>

#include "base/dtype.h"

namespace triptych::kernels::cuda {

/// Throws InternalError "[kernel] has no CUDA implementation for int32".
[[noreturn]] void unimplemented(std::string_view kernel, DType dtype);

}  // namespace triptych::kernels::cuda
