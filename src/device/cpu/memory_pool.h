#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "device/device.h"

namespace triptych::device {

/// Best fit over large segments, splitting blocks and merging free neighbours, so that a steady training step asks the
/// system for nothing and memory freed in one size serves another. Thread-safe.
class MemoryPool {
 public:
  MemoryPool() = default;
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  std::byte* allocate(std::size_t bytes, MemoryPart part = MemoryPart::kOther);
  /// `part` as it was allocated for.
  void free(std::byte* data, MemoryPart part = MemoryPart::kOther);
  MemoryStats stats() const;

 private:
  struct Block {
    std::size_t size;
    std::size_t segment;  // blocks of different segments never merge
    bool free;
  };
  using Blocks = std::map<std::byte*, Block>;

  void add_segment(std::size_t bytes, MemoryPart part);

  mutable std::mutex mutex_;
  Blocks blocks_;
  std::set<std::pair<std::size_t, std::byte*>> free_;
  std::vector<std::pair<std::byte*, std::size_t>> segments_;
  MemoryStats stats_;
};

}  // namespace triptych::device
