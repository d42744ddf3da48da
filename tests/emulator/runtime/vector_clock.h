#pragma once

#include <cstdint>
#include <vector>

namespace triptych::emulator {

/// How far each stream had come, as far as somebody knows: entry s is the sequence number of the last piece of work of
/// stream s that is ordered before. Streams are numbered from 0 and never reuse a number.
class VectorClock {
 public:
  void join(const VectorClock& other) {
    if (entries_.size() < other.entries_.size()) entries_.resize(other.entries_.size());
    for (std::size_t i = 0; i < other.entries_.size(); ++i)
      if (entries_[i] < other.entries_[i]) entries_[i] = other.entries_[i];
  }
  void advance(std::size_t stream, uint64_t sequence) {
    if (entries_.size() <= stream) entries_.resize(stream + 1);
    entries_[stream] = sequence;
  }
  /// Whether that piece of work is ordered before.
  bool covers(std::size_t stream, uint64_t sequence) const {
    return stream < entries_.size() && entries_[stream] >= sequence;
  }

 private:
  std::vector<uint64_t> entries_;
};

}  // namespace triptych::emulator
