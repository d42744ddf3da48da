#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

namespace triptych::emulator {

/// Page-locked host memory: what cudaMallocHost and cudaHostRegister know, and which of it queued copies will read or
/// write. The host's own accesses can not be seen, so contents are compared: see CopyWork. Thread-safe.
class HostMemory {
 public:
  HostMemory() = default;
  ~HostMemory();
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

  /// Poisoned; null if the system has none.
  void* allocate(std::size_t bytes);
  /// False if nothing was allocated there.
  bool owns(const void* begin) const;
  void free(void* begin);
  bool register_range(void* begin, std::size_t bytes);
  bool unregister_range(void* begin);

  struct Range {
    uint64_t begin = 0, end = 0;
    bool contains(uint64_t first, uint64_t last) const { return begin <= first && last <= end; }
    bool touches(uint64_t first, uint64_t last) const { return first < end && begin < last; }
  };
  /// The page-locked range that `address` lies in; empty if it is ordinary memory.
  Range find(uint64_t address) const;

  void begin_copy(uint64_t begin, uint64_t end, bool device_writes);
  void end_copy(uint64_t begin, uint64_t end, bool device_writes);
  bool is_being_read(uint64_t begin, uint64_t end) const { return touches(reads_, begin, end); }
  bool is_being_written(uint64_t begin, uint64_t end) const { return touches(writes_, begin, end); }

 private:
  bool touches(const std::vector<Range>& ranges, uint64_t begin, uint64_t end) const;

  mutable std::mutex mutex_;
  std::map<uint64_t, Range> ranges_;
  std::map<uint64_t, bool> owned_;  // begin -> allocated here, rather than registered
  std::vector<Range> reads_, writes_;
};

/// What page-locked memory holds before anybody has written to it, and the target of a copy before the copy has run:
/// NaN in float32, bfloat16 and float16.
void fill_with_poison(void* begin, std::size_t bytes);
bool is_poison(const void* begin, std::size_t bytes);

}  // namespace triptych::emulator
