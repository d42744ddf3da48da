#include "kernels/libraries.h"

#include <fmt/core.h>
#include <hwy/targets.h>
#include <oneapi/dnnl/dnnl.h>

namespace triptych::kernels {

std::vector<KernelLibrary> kernel_libraries() {
  const dnnl_version_t* version = dnnl_version();
  const bool openmp = version->cpu_runtime == DNNL_RUNTIME_OMP;
  const auto targets = hwy::SupportedTargets();
  return {{"BLAS",
           fmt::format("oneDNN {}.{}.{}{}", version->major, version->minor, version->patch, openmp ? " (OMP)" : "")},
          {"SIMD", hwy::TargetName(targets & -targets)}};  // the lowest bit is the best target
}

}  // namespace triptych::kernels
