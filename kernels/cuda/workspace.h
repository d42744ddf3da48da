#pragma once

#include <cstddef>

#include "device/cuda/memory_pool.h"
#include "device/stream.h"

namespace triptych::kernels::cuda {

/// Device memory of a stream's state, from the first use to the state's end.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() {
    if (data_ != nullptr) pool_->free(data_, bytes_);
  }

  /// The same `bytes` and stream at every call.
  void* get(std::size_t bytes, const Stream& stream) {
    if (data_ == nullptr) {
      pool_ = stream.pool();
      data_ = pool_->allocate(bytes);
      bytes_ = bytes;
    }
    return data_;
  }

 private:
  MemoryPool* pool_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace triptych::kernels::cuda
