#include "device/cuda/environment.h"

#include <algorithm>

#include <cuda_runtime_api.h>

namespace triptych::device {

std::vector<EnvironmentSetting> cuda_environment(int runtime_version, int driver_version) {
  constexpr int kOverlapsInOrder = 12030;
  std::vector<EnvironmentSetting> settings{{"CUDA_MODULE_LOADING", "EAGER"}, {"CUDA_DEVICE_MAX_CONNECTIONS", "32"}};
  if (std::min(runtime_version, driver_version) >= kOverlapsInOrder) {
    settings.push_back({"NCCL_LAUNCH_ORDER_IMPLICIT", "1"});
  }
  return settings;
}

std::vector<EnvironmentSetting> backend_environment() {
  int runtime = 0, driver = 0;  // neither call starts CUDA; 0 stays where there is no driver
  static_cast<void>(cudaRuntimeGetVersion(&runtime));
  static_cast<void>(cudaDriverGetVersion(&driver));
  return cuda_environment(runtime, driver);
}

}  // namespace triptych::device
