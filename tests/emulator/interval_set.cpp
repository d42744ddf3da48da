#include "emulator/interval_set.h"

#include <algorithm>
#include <iterator>

namespace triptych::emulator {

void IntervalSet::add(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  auto next = ranges_.upper_bound(begin);
  if (next != ranges_.begin()) {
    auto before = std::prev(next);
    if (before->second >= begin) {
      begin = before->first;
      end = std::max(end, before->second);
      next = ranges_.erase(before);
    }
  }
  while (next != ranges_.end() && next->first <= end) {
    end = std::max(end, next->second);
    next = ranges_.erase(next);
  }
  ranges_.emplace_hint(next, begin, end);
}

bool IntervalSet::intersects(uint64_t begin, uint64_t end) const {
  if (begin >= end) return false;
  auto next = ranges_.lower_bound(end);  // the first range that begins at or after `end`
  return next != ranges_.begin() && std::prev(next)->second > begin;
}

uint64_t IntervalSet::num_bytes() const {
  uint64_t total = 0;
  for (const auto& [begin, end] : ranges_) total += end - begin;
  return total;
}

}  // namespace triptych::emulator
