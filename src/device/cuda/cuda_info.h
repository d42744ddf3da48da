#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::device {

struct GpuInfo {
  std::string name;
  int capability_major = 0, capability_minor = 0;
  std::size_t memory_bytes = 0;
};

/// What this machine has of CUDA.
struct CudaInfo {
  bool has_driver_library = false;  ///< the loader finds libcuda.so.1
  int driver_version = 0;   ///< the newest CUDA that the driver knows, as 1000 * major + 10 * minor; 0: no driver
  int runtime_version = 0;  ///< what this program was built with
  std::vector<GpuInfo> gpus;
  std::string problem;  ///< why there are no GPUs, in CUDA's words; empty if there are

  /// "driver 13.0, runtime 13.0, 8 GPUs".
  std::string summary() const;
  /// "NVIDIA H100 80GB HBM3, compute capability 9.0, 79.1 GiB", one for each GPU.
  std::vector<std::string> gpu_lines() const;
};

/// Never throws for what is missing: that is what it reports.
CudaInfo cuda_info();

}  // namespace triptych::device
