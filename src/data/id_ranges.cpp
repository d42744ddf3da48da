#include "data/id_ranges.h"

#include <utility>

namespace triptych::data {
namespace {

/// Whether the id and its sample follow directly on the range.
bool goes_on(const IdRange& range, uint64_t id, uint64_t owner) {
  return id != 0 && range.last == id - 1 && owner - range.owner == id - range.first;
}

}  // namespace

std::optional<uint64_t> IdRanges::add(uint64_t id, uint64_t owner) {
  auto next = ranges_.upper_bound(id);
  if (next != ranges_.begin()) {
    IdRange& before = std::prev(next)->second;
    if (id <= before.last) return before.owner + (id - before.first);
    if (goes_on(before, id, owner)) {
      before.last = id;
    } else {
      ranges_.emplace_hint(next, id, IdRange{id, id, owner});
    }
  } else {
    ranges_.emplace_hint(next, id, IdRange{id, id, owner});
  }
  if (!new_.empty() && goes_on(new_.back(), id, owner)) {
    new_.back().last = id;
  } else {
    new_.push_back({id, id, owner});
  }
  return std::nullopt;
}

void IdRanges::add(std::span<const IdRange> ranges) {
  for (const IdRange& range : ranges) ranges_.emplace(range.first, range);
}

std::vector<IdRange> IdRanges::take_new() {
  return std::exchange(new_, {});
}

}  // namespace triptych::data
