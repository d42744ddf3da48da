#include "device/paper/memory_pool.h"

#include <algorithm>

#include "base/checked.h"

namespace triptych::device {
namespace {

constexpr int64_t kCounted = 64, kAligned = 256;

std::size_t counted(std::size_t bytes) {
  return static_cast<std::size_t>(round_up(static_cast<int64_t>(std::max<std::size_t>(bytes, 1)), kCounted));
}

}  // namespace

std::byte* MemoryPool::allocate(std::size_t bytes, MemoryPart part) {
  const std::lock_guard lock(mutex_);
  const std::size_t size = counted(bytes);
  const uintptr_t address = next_;
  next_ += static_cast<uintptr_t>(round_up(static_cast<int64_t>(size), kAligned));
  stats_.add(part, size);
  stats_.held_bytes = stats_.peak_used_bytes;
  return reinterpret_cast<std::byte*>(address);
}

void MemoryPool::free(std::size_t bytes, MemoryPart part) {
  const std::lock_guard lock(mutex_);
  stats_.remove(part, counted(bytes));
}

MemoryStats MemoryPool::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace triptych::device
