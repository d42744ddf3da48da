#include "kernels/cuda/unimplemented.h"

#include "base/error.h"

namespace triptych::kernels::cuda {

void unimplemented(std::string_view kernel, DType dtype) {
  throw InternalError(kernel, fmt::format("has no CUDA implementation for {}", dtype_name(dtype)));
}

}  // namespace triptych::kernels::cuda
