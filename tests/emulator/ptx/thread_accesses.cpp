#include "emulator/ptx/thread_accesses.h"

#include <fmt/format.h>

#include "emulator/ptx/block.h"

namespace triptych::emulator::ptx {

void ThreadAccesses::touch(Warp& warp, int lane, uint64_t address, unsigned size, Access access,
                           const std::byte* value) {
  const uint64_t number = address / kPageBytes;
  const std::byte* before = warp.block().state().memory.bytes(address);
  const auto conflict = page(number).touch(warp, lane, epoch_, static_cast<uint32_t>(address % kPageBytes), size,
                                           access, before, value == nullptr ? before : value);
  if (conflict) race(warp, lane, number, access, *conflict);
}

AccessCells& ThreadAccesses::page(uint64_t number) {
  if (last_page_ != nullptr && last_number_ == number) return *last_page_;
  std::unique_ptr<AccessCells>& page = pages_[number];
  if (page == nullptr && unused_.empty()) {
    page = std::make_unique<AccessCells>(kPageBytes);
  } else if (page == nullptr) {
    page = std::move(unused_.back());
    unused_.pop_back();
  }
  last_number_ = number;
  last_page_ = page.get();
  return *page;
}

void ThreadAccesses::barrier() {
  ++epoch_;
  for (auto& [number, page] : pages_) unused_.push_back(std::move(page));
  pages_.clear();
  last_page_ = nullptr;
}

void ThreadAccesses::race(Warp& warp, int lane, uint64_t page, Access access, const AccessCells::Conflict& conflict) {
  const uint64_t address = page * kPageBytes + conflict.at;
  const DeviceMemory::Allocation allocation = warp.block().state().memory.find(address);
  warp.fail("global-race", lane,
            fmt::format("{} global memory, byte {} of {} ({} bytes), {}", verb_of(access), address - allocation.begin,
                        allocation.what, allocation.size, AccessCells::describe(warp, conflict)));
}

}  // namespace triptych::emulator::ptx
