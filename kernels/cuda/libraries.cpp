#include "kernels/libraries.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <fmt/core.h>

#include "device/cuda/handles.h"

namespace triptych::kernels {

std::vector<KernelLibrary> kernel_libraries() {
  const std::size_t blas = cublasLtGetVersion();
  int runtime = 0;
  TRIPTYCH_CUDA(cudaRuntimeGetVersion(&runtime));
  return {{"BLAS", fmt::format("cuBLASLt {}.{}.{}", blas / 10000, blas / 100 % 100, blas % 100)},
          {"CUDA", fmt::format("runtime {}.{}", runtime / 1000, runtime % 1000 / 10)}};
}

}  // namespace triptych::kernels
