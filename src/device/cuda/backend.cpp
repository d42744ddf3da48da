#include "device/backend.h"

#include <cstdlib>

#include <fmt/core.h>

#include "device/cuda/cuda_info.h"

namespace triptych::device {

std::string_view backend_kind() {
  return "cuda";
}

std::vector<BackendFact> backend_facts() {
  const CudaInfo info = cuda_info();
  std::vector<BackendFact> facts{{"CUDA", info.summary()}};
  for (const std::string& line : info.gpu_lines()) facts.push_back({"GPU", line});
  if (!info.has_driver_library) facts.push_back({"driver", "libcuda.so.1 is not found: install NVIDIA's driver"});
  if (!info.problem.empty()) facts.push_back({"no GPU", info.problem});
  std::string environment;
  for (const EnvironmentSetting& setting : backend_environment()) {
    const char* const value = std::getenv(setting.name.c_str());
    environment += fmt::format("{}{}={}", environment.empty() ? "" : " ", setting.name, value == nullptr ? "" : value);
  }
  facts.push_back({"environment", environment});
  return facts;
}

}  // namespace triptych::device
