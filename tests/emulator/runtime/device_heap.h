#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "emulator/device_memory.h"

namespace triptych::emulator {

/// One device's memory, as cudaMalloc and the device's stream-ordered pool share it. What is allocated and freed counts
/// from the moment of the call, as in the real pool, which reuses memory in stream order; the bytes come back when the
/// free has run, so DeviceMemory is larger than the device that is emulated. Thread-safe.
class DeviceHeap {
 public:
  struct Allocation {
    uint64_t begin = 0;
    std::size_t bytes = 0;
    bool from_pool = false;
    bool freed = false;  ///< by the program; the free may not have run yet
  };
  struct Pool {
    std::size_t used = 0, used_high = 0, reserved = 0, reserved_high = 0;
    std::size_t release_threshold = 0;
  };

  DeviceHeap(int device, std::size_t capacity);

  int device() const { return device_; }
  DeviceMemory& memory() { return memory_; }
  std::size_t capacity() const { return capacity_; }
  std::size_t free_bytes() const;

  /// 0 if the device has not enough. `make_room` is called where only queued frees stand in the way; it runs them.
  uint64_t allocate(std::size_t bytes, bool from_pool,
                    const std::function<void(const std::function<bool()>& enough)>& make_room);
  std::optional<Allocation> find(uint64_t begin) const;
  /// Its bytes no longer count. Reports `double-free`, or `bad-argument` where no allocation begins.
  Allocation mark_freed(uint64_t begin);
  /// The free has run.
  void release(uint64_t begin);

  Pool pool() const;
  void set_pool(const std::function<void(Pool&)>& change);
  /// The host has waited for the device: what the pool holds above its threshold goes back, as the real one does.
  void trim_at_synchronisation();
  /// cudaMemPoolTrimTo.
  void trim_pool(std::size_t bytes_to_keep);

 private:
  const int device_;
  const std::size_t capacity_;
  DeviceMemory memory_;
  mutable std::mutex mutex_;
  std::map<uint64_t, Allocation> allocations_;
  std::size_t used_ = 0;  // by cudaMalloc; the pool counts for itself
  uint64_t num_allocations_ = 0;
  Pool pool_;
};

}  // namespace triptych::emulator
