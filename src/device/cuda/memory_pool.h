#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string_view>

#include <cuda_runtime_api.h>

#include "device/cuda/handles.h"
#include "device/device.h"

namespace triptych {

/// CUDA's own pool of the GPU, in the order of the compute stream: what that stream has freed it may use again at once.
/// Nothing goes back to the driver while the program runs, so a steady step asks the driver for nothing.
class MemoryPool {
 public:
  MemoryPool(int gpu, std::shared_ptr<CudaStream> compute);

  std::byte* allocate(std::size_t bytes);
  void free(std::byte* data) noexcept;
  /// CUDA does not say how often the pool asked the driver: num_system_allocations counts the calls of this function
  /// that found it grown. So equal numbers before and after a step mean that the step asked for nothing.
  MemoryStats stats() const;

 private:
  std::shared_ptr<CudaStream> compute_;
  cudaMemPool_t pool_ = nullptr;
  mutable std::mutex mutex_;
  mutable std::size_t most_held_bytes_ = 0;
  mutable int64_t num_times_grown_ = 0;
};

/// cudaMallocAsync. Throws WorldError that says what was asked for and who has the memory.
std::byte* allocate_in_order(std::size_t bytes, cudaStream_t stream);

}  // namespace triptych
