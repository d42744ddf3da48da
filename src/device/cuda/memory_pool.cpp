#include "device/cuda/memory_pool.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace triptych {
namespace {

std::size_t read_attribute(cudaMemPool_t pool, cudaMemPoolAttr attribute) {
  uint64_t value = 0;
  TRIPTYCH_CUDA(cudaMemPoolGetAttribute(pool, attribute, &value));
  return value;
}

void write_attribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, uint64_t value) {
  TRIPTYCH_CUDA(cudaMemPoolSetAttribute(pool, attribute, &value));
}

[[noreturn]] void throw_out_of_memory(std::size_t asked_bytes) {
  int gpu = 0;
  cudaMemPool_t pool = nullptr;
  std::size_t free_bytes = 0, total_bytes = 0;
  TRIPTYCH_CUDA(cudaGetDevice(&gpu));
  TRIPTYCH_CUDA(cudaDeviceGetDefaultMemPool(&pool, gpu));
  TRIPTYCH_CUDA(cudaMemGetInfo(&free_bytes, &total_bytes));
  const auto text = [](std::size_t bytes) { return human_bytes(static_cast<double>(bytes)); };
  throw WorldError(
      "device",
      fmt::format("out of memory on GPU {}: {} were asked for, {} are in use, {} are held; of the {} that "
                  "it has, {} are free. Use a smaller batch, more microbatches, parallel.recompute = "
                  "\"full\" or more ranks, and look whether another program uses the GPU",
                  gpu, text(asked_bytes), text(read_attribute(pool, cudaMemPoolAttrUsedMemCurrent)),
                  text(read_attribute(pool, cudaMemPoolAttrReservedMemCurrent)), text(total_bytes), text(free_bytes)));
}

}  // namespace

std::byte* allocate_in_order(std::size_t bytes, cudaStream_t stream) {
  void* data = nullptr;
  // CUDA refuses to allocate nothing.
  const cudaError_t code = cudaMallocAsync(&data, std::max<std::size_t>(bytes, 1), stream);
  if (code == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    throw_out_of_memory(bytes);
  }
  check_cuda(code, fmt::format("cudaMallocAsync of {} bytes", bytes));
  return static_cast<std::byte*>(data);
}

MemoryPool::MemoryPool(int gpu, std::shared_ptr<CudaStream> compute) : compute_(std::move(compute)) {
  TRIPTYCH_CUDA(cudaDeviceGetDefaultMemPool(&pool_, gpu));
  write_attribute(pool_, cudaMemPoolAttrReleaseThreshold, std::numeric_limits<uint64_t>::max());
  write_attribute(pool_, cudaMemPoolAttrUsedMemHigh, 0);  // the peak starts at what is in use now
  most_held_bytes_ = read_attribute(pool_, cudaMemPoolAttrReservedMemCurrent);
}

std::byte* MemoryPool::allocate(std::size_t bytes) {
  return allocate_in_order(bytes, compute_->get());
}

void MemoryPool::free(std::byte* data) noexcept {
  // Fails only where the GPU or the process is going down, and the memory with it.
  static_cast<void>(cudaFreeAsync(data, compute_->get()));
}

MemoryStats MemoryPool::stats() const {
  const std::lock_guard lock(mutex_);
  const std::size_t most_held = read_attribute(pool_, cudaMemPoolAttrReservedMemHigh);
  if (most_held > most_held_bytes_) ++num_times_grown_;
  most_held_bytes_ = std::max(most_held_bytes_, most_held);
  return {.used_bytes = read_attribute(pool_, cudaMemPoolAttrUsedMemCurrent),
          .peak_used_bytes = read_attribute(pool_, cudaMemPoolAttrUsedMemHigh),
          .held_bytes = read_attribute(pool_, cudaMemPoolAttrReservedMemCurrent),
          .num_system_allocations = num_times_grown_};
}

}  // namespace triptych
