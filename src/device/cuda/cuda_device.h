#pragma once

#include <memory>

#include "device/cuda/handles.h"
#include "device/cuda/staging_ring.h"
#include "device/device.h"

namespace triptych::device {

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
