#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// The ids `first` to `last`, of samples whose numbers follow each other from `owner` on.
struct IdRange {
  uint64_t first = 0, last = 0, owner = 0;
  bool operator==(const IdRange&) const = default;
};

/// The ids that samples have, each with the number of its sample. Ids that count with the samples take the memory of
/// one range; others that of a range each.
class IdRanges {
 public:
  /// Adds an id; or, if a sample has it already, returns that sample's number and adds nothing.
  std::optional<uint64_t> add(uint64_t id, uint64_t owner);
  /// Adds ranges that hold none of the ids that are there.
  void add(std::span<const IdRange> ranges);
  /// The ranges that came since the last call.
  std::vector<IdRange> take_new();

 private:
  std::map<uint64_t, IdRange> ranges_;  // by their first ids
  std::vector<IdRange> new_;
};

}  // namespace triptych::data
