#pragma once

#include <cstddef>
#include <deque>
#include <memory>

#include <cuda_runtime_api.h>

#include "device/cuda/handles.h"

namespace triptych::device {

/// Page-locked memory that small writes to the GPU pass through, so that the host neither waits for them nor has to
/// keep what it wrote. It waits only when the ring is full of copies that the GPU has not reached yet.
class StagingRing {
 public:
  StagingRing(std::shared_ptr<EventList> events, std::shared_ptr<const HostWatches> watches);
  ~StagingRing();
  StagingRing(const StagingRing&) = delete;
  StagingRing& operator=(const StagingRing&) = delete;

  /// Copies in the order of `stream`. `host` may be reused when it returns.
  void write(void* to, const void* host, std::size_t bytes, cudaStream_t stream);

 private:
  struct Piece {
    std::size_t begin;
    CudaEvent copied;
  };
  std::size_t reserve(std::size_t bytes);

  std::shared_ptr<EventList> events_;
  std::shared_ptr<const HostWatches> watches_;
  std::byte* data_ = nullptr;
  std::deque<Piece> pieces_;  // oldest first
  std::size_t end_ = 0;       // of the youngest piece
};

}  // namespace triptych::device
