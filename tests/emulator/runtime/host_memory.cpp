#include "emulator/runtime/host_memory.h"

#include <algorithm>
#include <cstdlib>

namespace triptych::emulator {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr unsigned char kPoison[2] = {0xa5, 0x7f};

}  // namespace

void fill_with_poison(void* begin, std::size_t bytes) {
  auto* const first = static_cast<unsigned char*>(begin);
  for (std::size_t i = 0; i < bytes; ++i) first[i] = kPoison[i % 2];
}

bool is_poison(const void* begin, std::size_t bytes) {
  const auto* const first = static_cast<const unsigned char*>(begin);
  for (std::size_t i = 0; i < bytes; ++i)
    if (first[i] != kPoison[i % 2]) return false;
  return true;
}

HostMemory::~HostMemory() {
  for (const auto& [begin, is_owned] : owned_)
    if (is_owned) std::free(reinterpret_cast<void*>(begin));
}

void* HostMemory::allocate(std::size_t bytes) {
  const std::size_t rounded = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  void* const begin = std::aligned_alloc(kPageBytes, rounded);
  if (!begin) return nullptr;
  fill_with_poison(begin, rounded);
  std::lock_guard lock(mutex_);
  const auto address = reinterpret_cast<uint64_t>(begin);
  ranges_[address] = {address, address + bytes};
  owned_[address] = true;
  return begin;
}

bool HostMemory::owns(const void* begin) const {
  std::lock_guard lock(mutex_);
  const auto found = owned_.find(reinterpret_cast<uint64_t>(begin));
  return found != owned_.end() && found->second;
}

void HostMemory::free(void* begin) {
  {
    std::lock_guard lock(mutex_);
    ranges_.erase(reinterpret_cast<uint64_t>(begin));
    owned_.erase(reinterpret_cast<uint64_t>(begin));
  }
  std::free(begin);
}

bool HostMemory::register_range(void* begin, std::size_t bytes) {
  std::lock_guard lock(mutex_);
  const auto address = reinterpret_cast<uint64_t>(begin);
  for (const auto& [first, range] : ranges_)
    if (range.touches(address, address + bytes)) return false;
  ranges_[address] = {address, address + bytes};
  owned_[address] = false;
  return true;
}

bool HostMemory::unregister_range(void* begin) {
  std::lock_guard lock(mutex_);
  const auto found = owned_.find(reinterpret_cast<uint64_t>(begin));
  if (found == owned_.end() || found->second) return false;
  owned_.erase(found);
  ranges_.erase(reinterpret_cast<uint64_t>(begin));
  return true;
}

HostMemory::Range HostMemory::find(uint64_t address) const {
  std::lock_guard lock(mutex_);
  auto next = ranges_.upper_bound(address);
  if (next == ranges_.begin()) return {};
  const Range range = std::prev(next)->second;
  return address < range.end ? range : Range{};
}

void HostMemory::begin_copy(uint64_t begin, uint64_t end, bool device_writes) {
  std::lock_guard lock(mutex_);
  (device_writes ? writes_ : reads_).push_back({begin, end});
}

void HostMemory::end_copy(uint64_t begin, uint64_t end, bool device_writes) {
  std::lock_guard lock(mutex_);
  std::vector<Range>& ranges = device_writes ? writes_ : reads_;
  const auto found = std::find_if(ranges.begin(), ranges.end(),
                                  [&](const Range& range) { return range.begin == begin && range.end == end; });
  if (found != ranges.end()) ranges.erase(found);
}

bool HostMemory::touches(const std::vector<Range>& ranges, uint64_t begin, uint64_t end) const {
  std::lock_guard lock(mutex_);
  return std::any_of(ranges.begin(), ranges.end(), [&](const Range& range) { return range.touches(begin, end); });
}

}  // namespace triptych::emulator
