#include "emulator/runtime/free_work.h"

#include <algorithm>

namespace triptych::emulator {

void FreedMemory::add(std::vector<PointPtr> until, const FreeWork& work) {
  std::lock_guard lock(mutex_);
  entries_.push_back({std::move(until), work.begin(), work.end(), work.release()});
}

void FreedMemory::release(const std::function<void(uint64_t, uint64_t)>& forget) {
  std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](Entry& entry) {
    std::erase_if(entry.until, [](const PointPtr& point) { return point->done.load(); });
    if (!entry.until.empty()) return false;
    forget(entry.begin, entry.end);
    entry.release();
    return true;
  });
}

}  // namespace triptych::emulator
