#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "device/device.h"

namespace triptych::device {

/// Keeps the books of memory that is not there: addresses that nothing may touch, each given once, and what is in use.
/// Buffers count as on the CPU, in multiples of 64 bytes. Thread-safe.
class MemoryPool {
 public:
  std::byte* allocate(std::size_t bytes, MemoryPart part);
  /// `bytes` and `part` as they were allocated.
  void free(std::size_t bytes, MemoryPart part);
  MemoryStats stats() const;

 private:
  mutable std::mutex mutex_;
  uintptr_t next_ = uintptr_t{1} << 32;
  MemoryStats stats_;
};

}  // namespace triptych::device
