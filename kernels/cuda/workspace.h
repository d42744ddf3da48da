#pragma once

#include <cstddef>
#include <utility>

#include "device/cuda/cuda_device.h"
#include "device/cuda/memory_pool.h"

namespace triptych::cuda {

/// Device memory of a stream's state, from the first use to the state's end.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() {
    // Fails only where the GPU or the process is going down.
    if (data_ != nullptr) static_cast<void>(cudaFreeAsync(data_, stream_));
  }

  /// The same `bytes` and stream at every call.
  void* get(std::size_t bytes, const Stream& stream) {
    if (data_ == nullptr) {
      stream_ = cuda_stream(stream);
      data_ = allocate_in_order(bytes, stream_);
    }
    return data_;
  }

 private:
  cudaStream_t stream_ = nullptr;
  void* data_ = nullptr;
};

}  // namespace triptych::cuda
