#pragma once

#include <cstdint>
#include <map>

namespace triptych::emulator {

/// A set of byte addresses as disjoint, merged ranges [begin, end).
class IntervalSet {
 public:
  void add(uint64_t begin, uint64_t end);
  bool intersects(uint64_t begin, uint64_t end) const;
  uint64_t num_bytes() const;
  const std::map<uint64_t, uint64_t>& ranges() const { return ranges_; }

 private:
  std::map<uint64_t, uint64_t> ranges_;  // begin -> end
};

}  // namespace triptych::emulator
