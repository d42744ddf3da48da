#include "device/cuda/cuda_info.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fmt/core.h>

#include "base/text.h"

namespace triptych::device {
namespace {

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

bool library_is_there(const char* name) {
  void* handle = ::dlopen(name, RTLD_LAZY | RTLD_LOCAL);
  if (handle != nullptr) ::dlclose(handle);
  return handle != nullptr;
}

}  // namespace

CudaInfo cuda_info() {
  CudaInfo info;
  info.has_driver_library = library_is_there("libcuda.so.1");
  static_cast<void>(cudaDriverGetVersion(&info.driver_version));  // 0 stays where there is no driver
  static_cast<void>(cudaRuntimeGetVersion(&info.runtime_version));
  int num_gpus = 0;
  cudaError_t code = cudaGetDeviceCount(&num_gpus);
  for (int gpu = 0; code == cudaSuccess && gpu < num_gpus; ++gpu) {
    cudaDeviceProp properties{};
    code = cudaGetDeviceProperties(&properties, gpu);
    if (code != cudaSuccess) break;
    info.gpus.push_back({.name = properties.name,
                         .capability_major = properties.major,
                         .capability_minor = properties.minor,
                         .memory_bytes = properties.totalGlobalMem});
  }
  if (code != cudaSuccess) {
    info.problem = fmt::format("{} ({}), {}", cudaGetErrorName(code), static_cast<int>(code), cudaGetErrorString(code));
    static_cast<void>(cudaGetLastError());
  } else if (info.gpus.empty()) {
    info.problem = "the driver shows no GPU";
  }
  return info;
}

std::string CudaInfo::summary() const {
  const std::string driver = driver_version > 0   ? "driver " + version_text(driver_version)
                             : has_driver_library ? "libcuda.so.1 found, but no driver behind it"
                                                  : "no driver: libcuda.so.1 was not found";
  const std::string count = fmt::format("{} GPU{}", gpus.size(), gpus.size() == 1 ? "" : "s");
  return fmt::format("{}, runtime {}, {}{}", driver, version_text(runtime_version), count,
                     problem.empty() ? "" : fmt::format(" ({})", problem));
}

std::vector<std::string> CudaInfo::gpu_lines() const {
  std::vector<std::string> lines;
  for (const GpuInfo& gpu : gpus) {
    lines.push_back(fmt::format("{}, compute capability {}.{}, {}", gpu.name, gpu.capability_major,
                                gpu.capability_minor, human_bytes(static_cast<double>(gpu.memory_bytes))));
  }
  return lines;
}

}  // namespace triptych::device
