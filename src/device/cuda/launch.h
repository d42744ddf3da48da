#pragma once

#include <string_view>

#include <cuda_runtime.h>

#include "device/stream.h"

// What a kernel's source needs of the device, and no more: nvcc reads it anew for each architecture.

namespace triptych::device {

/// The stream that kernels are launched on.
inline cudaStream_t cuda_stream(const Stream& stream) {
  return static_cast<cudaStream_t>(stream.native());
}

/// After a launch: throws what the launch itself reported (a bad configuration); errors of the kernel's run come later.
void check_launch(std::string_view kernel);

}  // namespace triptych::device
