#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include <cuda_runtime.h>

#include "device/cuda/handles.h"
#include "device/cuda/staging_ring.h"
#include "device/device.h"

namespace triptych::device {

/// The stream that kernels are launched on.
inline cudaStream_t cuda_stream(const Stream& stream) {
  return static_cast<cudaStream_t>(stream.native());
}

/// After a launch: what the launch itself reported (a bad configuration); errors of the kernel's run come later.
inline void check_launch(std::string_view kernel) {
  check_cuda(cudaGetLastError(), kernel);
}

/// A device's handles. The thread that makes a Device is bound to its GPU; another thread that is to launch kernels on
/// it calls cudaSetDevice(gpu) first.
struct DeviceState {
  /// Binds the calling thread to a GPU. Throws UserError if there is no such GPU, or none that the kernels run on.
  explicit DeviceState(int number);

  int gpu;
  std::shared_ptr<CudaStream> compute;  ///< shared with the memory pool, which buffers keep alive
  CudaStream copy;
  std::shared_ptr<EventList> events;
  std::shared_ptr<HostWatches> watches;
  StagingRing staging;
};

}  // namespace triptych::device
