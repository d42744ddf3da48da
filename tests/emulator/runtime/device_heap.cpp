#include "emulator/runtime/device_heap.h"

#include <algorithm>
#include <cstdio>

#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

constexpr std::size_t kGranularity = 256;
// How much more than the emulated capacity may be held by frees that have not run yet.
constexpr std::size_t kHeadroom = 2;

std::size_t rounded(std::size_t bytes) {
  return (bytes + kGranularity - 1) / kGranularity * kGranularity;
}

std::string hex(uint64_t address) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
  return text;
}

}  // namespace

DeviceHeap::DeviceHeap(int device, std::size_t capacity)
    : device_(device), capacity_(capacity), memory_(capacity * kHeadroom) {}

std::size_t DeviceHeap::free_bytes() const {
  std::lock_guard lock(mutex_);
  return capacity_ - used_ - std::max(pool_.used, pool_.reserved);
}

uint64_t DeviceHeap::allocate(std::size_t bytes, bool from_pool,
                              const std::function<void(const std::function<bool()>&)>& make_room) {
  std::string what;
  {
    std::lock_guard lock(mutex_);
    // What the pool holds in reserve is no obstacle: the driver takes it back before it refuses.
    if (bytes > capacity_ || used_ + pool_.used + rounded(bytes) > capacity_) return 0;
    if (from_pool) {
      pool_.used += rounded(bytes);
      pool_.used_high = std::max(pool_.used_high, pool_.used);
      pool_.reserved = std::max(pool_.reserved, pool_.used);
      pool_.reserved_high = std::max(pool_.reserved_high, pool_.reserved);
    } else {
      used_ += rounded(bytes);
      pool_.reserved = std::max(pool_.used, std::min(pool_.reserved, capacity_ - used_));
    }
    what = std::string(from_pool ? "cudaMallocAsync" : "cudaMalloc") + " number " + std::to_string(++num_allocations_) +
           " of device " + std::to_string(device_);
  }
  uint64_t begin = memory_.allocate(bytes, what);
  if (begin == 0) make_room([&] { return (begin = memory_.allocate(bytes, what)) != 0; });
  if (begin == 0)
    report("unsupported", "there is no gap of " + std::to_string(bytes) + " bytes left in device " +
                              std::to_string(device_) +
                              " although all queued work has run: its memory is in pieces. "
                              "Raise TRIPTYCH_EMULATOR_MEMORY_MB.");
  std::lock_guard lock(mutex_);
  allocations_[begin] = {begin, bytes, from_pool, false};
  return begin;
}

std::optional<DeviceHeap::Allocation> DeviceHeap::find(uint64_t begin) const {
  std::lock_guard lock(mutex_);
  const auto found = allocations_.find(begin);
  return found == allocations_.end() ? std::nullopt : std::optional(found->second);
}

DeviceHeap::Allocation DeviceHeap::mark_freed(uint64_t begin) {
  std::unique_lock lock(mutex_);
  const auto found = allocations_.find(begin);
  if (found == allocations_.end()) {
    lock.unlock();
    memory_.free(begin);  // reports what is wrong with it
    report("bad-argument", "free of " + hex(begin) + ", which no allocation begins at.");
  }
  if (found->second.freed)
    report("double-free", "the allocation of " + std::to_string(found->second.bytes) + " bytes at " + hex(begin) +
                              " is freed a second time; the first free is queued already.");
  found->second.freed = true;
  (found->second.from_pool ? pool_.used : used_) -= rounded(found->second.bytes);
  return found->second;
}

void DeviceHeap::release(uint64_t begin) {
  {
    std::lock_guard lock(mutex_);
    allocations_.erase(begin);
  }
  memory_.free(begin);
}

DeviceHeap::Pool DeviceHeap::pool() const {
  std::lock_guard lock(mutex_);
  return pool_;
}

void DeviceHeap::set_pool(const std::function<void(Pool&)>& change) {
  std::lock_guard lock(mutex_);
  change(pool_);
}

void DeviceHeap::trim_at_synchronisation() {
  trim_pool(pool().release_threshold);
}

void DeviceHeap::trim_pool(std::size_t bytes_to_keep) {
  std::lock_guard lock(mutex_);
  pool_.reserved = std::max(pool_.used, std::min(pool_.reserved, bytes_to_keep));
}

}  // namespace triptych::emulator
