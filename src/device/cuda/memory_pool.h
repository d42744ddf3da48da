#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string_view>

#include <cuda_runtime_api.h>

#include "device/cuda/handles.h"
#include "device/device.h"

namespace triptych::device {

/// CUDA's own pool of the GPU, in the order of the compute stream: what that stream has freed it may use again at once.
/// Nothing goes back to the driver while the program runs unless it is told to, so a steady step asks the driver for
/// nothing.
class MemoryPool {
 public:
  MemoryPool(int gpu, std::shared_ptr<CudaStream> compute);

  /// Throws OutOfMemory that says what was asked for and who has the memory.
  std::byte* allocate(std::size_t bytes, MemoryPart part = MemoryPart::kOther);
  /// `bytes` and `part` as they were allocated.
  void free(std::byte* data, std::size_t bytes, MemoryPart part = MemoryPart::kOther) noexcept;
  /// CUDA does not say how often the pool asked the driver: num_system_allocations counts the calls of this function
  /// that found it grown. So equal numbers before and after a step mean that the step asked for nothing.
  MemoryStats stats() const;

  /// What could still be allocated, were it in one piece: what the driver has, and what is held and not in use.
  std::size_t available_bytes() const;
  std::size_t held_bytes() const;
  /// Gives back to the driver what is not in use, until so much is held. What is still to be freed on the stream counts
  /// as in use.
  void give_back(std::size_t bytes_to_keep);

 private:
  [[noreturn]] void throw_out_of_memory(std::size_t asked_bytes, MemoryPart part) const;

  int gpu_;
  std::shared_ptr<CudaStream> compute_;
  cudaMemPool_t pool_ = nullptr;
  mutable std::mutex mutex_;
  mutable MemoryStats stats_;  // stats() brings what is held up to date
  mutable std::size_t most_held_bytes_ = 0;
};

}  // namespace triptych::device
