#include "device/cpu/memory_pool.h"

#include <algorithm>

#include <sys/mman.h>

#include "base/checked.h"
#include "base/sanitizer.h"
#include "device/out_of_memory.h"

#if TRIPTYCH_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace triptych::device {
namespace {

constexpr std::size_t kAlignment = 64;  // a cache line, and the widest vector
constexpr std::size_t kSegmentBytes = std::size_t{64}
                                      << 20;  // address space only: pages are the system's until touched

}  // namespace

MemoryPool::~MemoryPool() {
  for (const auto& [data, bytes] : segments_) {
    ASAN_UNPOISON_MEMORY_REGION(data, bytes);
    ::munmap(data, bytes);
  }
}

void MemoryPool::add_segment(std::size_t bytes, MemoryPart part) {
  const auto size = static_cast<std::size_t>(round_up(static_cast<int64_t>(std::max(bytes, kSegmentBytes)), 1 << 21));
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw OutOfMemory("device", fmt::format("out of memory: {}. {}", memory_shortage(bytes, part, stats_),
                                            memory_remedy(bytes, part, stats_)));
  }
  ::madvise(memory, size, MADV_HUGEPAGE);  // fewer page faults and TLB misses; a refusal costs nothing
  auto* data = static_cast<std::byte*>(memory);
  segments_.emplace_back(data, size);
  stats_.held_bytes += size;
  ++stats_.num_system_allocations;
  const auto [block, inserted] = blocks_.emplace(data, Block{size, segments_.size() - 1, true});
  TRIPTYCH_CHECK(inserted, "a segment overlaps another");
  free_.emplace(size, data);
  ASAN_POISON_MEMORY_REGION(data, size);
}

std::byte* MemoryPool::allocate(std::size_t bytes, MemoryPart part) {
  const auto size =
      static_cast<std::size_t>(round_up(static_cast<int64_t>(std::max<std::size_t>(bytes, 1)), kAlignment));
  const std::lock_guard lock(mutex_);
  auto found = free_.lower_bound({size, nullptr});
  if (found == free_.end()) {
    add_segment(size, part);
    found = free_.lower_bound({size, nullptr});
  }
  const auto block = blocks_.find(found->second);
  free_.erase(found);
  if (block->second.size > size) {
    std::byte* rest = block->first + size;
    const std::size_t rest_size = block->second.size - size;
    blocks_.emplace(rest, Block{rest_size, block->second.segment, true});
    free_.emplace(rest_size, rest);
    block->second.size = size;
  }
  block->second.free = false;
  stats_.add(part, size);
  ASAN_UNPOISON_MEMORY_REGION(block->first, bytes);
  return block->first;
}

void MemoryPool::free(std::byte* data, MemoryPart part) {
  const std::lock_guard lock(mutex_);
  auto block = blocks_.find(data);
  TRIPTYCH_CHECK(block != blocks_.end() && !block->second.free, "a buffer was freed twice");
  stats_.remove(part, block->second.size);
  ASAN_POISON_MEMORY_REGION(block->first, block->second.size);
  const auto next = std::next(block);
  if (next != blocks_.end() && next->second.free && next->second.segment == block->second.segment) {
    free_.erase({next->second.size, next->first});
    block->second.size += next->second.size;
    blocks_.erase(next);
  }
  if (block != blocks_.begin()) {
    const auto previous = std::prev(block);
    if (previous->second.free && previous->second.segment == block->second.segment) {
      free_.erase({previous->second.size, previous->first});
      previous->second.size += block->second.size;
      blocks_.erase(block);
      block = previous;
    }
  }
  block->second.free = true;
  free_.emplace(block->second.size, block->first);
}

MemoryStats MemoryPool::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace triptych::device
