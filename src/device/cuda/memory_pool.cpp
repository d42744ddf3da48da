#include "device/cuda/memory_pool.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "device/out_of_memory.h"

namespace triptych::device {
namespace {

std::size_t read_attribute(cudaMemPool_t pool, cudaMemPoolAttr attribute) {
  uint64_t value = 0;
  TRIPTYCH_CUDA(cudaMemPoolGetAttribute(pool, attribute, &value));
  return value;
}

void write_attribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, uint64_t value) {
  TRIPTYCH_CUDA(cudaMemPoolSetAttribute(pool, attribute, &value));
}

}  // namespace

MemoryPool::MemoryPool(int gpu, std::shared_ptr<CudaStream> compute) : gpu_(gpu), compute_(std::move(compute)) {
  TRIPTYCH_CUDA(cudaDeviceGetDefaultMemPool(&pool_, gpu));
  write_attribute(pool_, cudaMemPoolAttrReleaseThreshold, std::numeric_limits<uint64_t>::max());
  most_held_bytes_ = read_attribute(pool_, cudaMemPoolAttrReservedMemCurrent);
}

std::byte* MemoryPool::allocate(std::size_t bytes, MemoryPart part) {
  void* data = nullptr;
  // CUDA refuses to allocate nothing.
  const cudaError_t code = cudaMallocAsync(&data, std::max<std::size_t>(bytes, 1), compute_->get());
  if (code == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    throw_out_of_memory(bytes, part);
  }
  check_cuda(code, fmt::format("cudaMallocAsync of {} bytes", bytes));
  const std::lock_guard lock(mutex_);
  stats_.add(part, bytes);
  return static_cast<std::byte*>(data);
}

void MemoryPool::free(std::byte* data, std::size_t bytes, MemoryPart part) noexcept {
  // Fails only where the GPU or the process is going down, and the memory with it.
  static_cast<void>(cudaFreeAsync(data, compute_->get()));
  const std::lock_guard lock(mutex_);
  stats_.remove(part, bytes);
}

MemoryStats MemoryPool::stats() const {
  const std::lock_guard lock(mutex_);
  const std::size_t most_held = read_attribute(pool_, cudaMemPoolAttrReservedMemHigh);
  if (most_held > most_held_bytes_) ++stats_.num_system_allocations;
  most_held_bytes_ = std::max(most_held_bytes_, most_held);
  stats_.held_bytes = read_attribute(pool_, cudaMemPoolAttrReservedMemCurrent);
  return stats_;
}

std::size_t MemoryPool::available_bytes() const {
  std::size_t free_bytes = 0, total_bytes = 0;
  TRIPTYCH_CUDA(cudaMemGetInfo(&free_bytes, &total_bytes));
  const std::size_t held = read_attribute(pool_, cudaMemPoolAttrReservedMemCurrent);
  return free_bytes + held - std::min(held, read_attribute(pool_, cudaMemPoolAttrUsedMemCurrent));
}

std::size_t MemoryPool::held_bytes() const {
  return read_attribute(pool_, cudaMemPoolAttrReservedMemCurrent);
}

void MemoryPool::give_back(std::size_t bytes_to_keep) {
  TRIPTYCH_CUDA(cudaMemPoolTrimTo(pool_, bytes_to_keep));
}

void MemoryPool::throw_out_of_memory(std::size_t asked_bytes, MemoryPart part) const {
  std::size_t free_bytes = 0, total_bytes = 0;
  TRIPTYCH_CUDA(cudaMemGetInfo(&free_bytes, &total_bytes));
  const MemoryStats now = stats();
  throw OutOfMemory(
      "device",
      fmt::format("out of memory on GPU {}: {}; of the {} that it has, {} are free. {}, and look whether "
                  "another program uses the GPU",
                  gpu_, memory_shortage(asked_bytes, part, now), human_bytes(static_cast<double>(total_bytes)),
                  human_bytes(static_cast<double>(free_bytes)), memory_remedy(asked_bytes, part, now)));
}

}  // namespace triptych::device
