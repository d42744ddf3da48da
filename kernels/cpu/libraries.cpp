#include "kernels/libraries.h"

#include <fmt/core.h>
#include <hwy/targets.h>
#include <oneapi/dnnl/dnnl.h>

namespace triptych {

std::string dnnl_version_text() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

std::string simd_target() {
  const auto supported = hwy::SupportedTargets();
  return hwy::TargetName(supported & -supported);  // the lowest bit is the best target
}

}  // namespace triptych
