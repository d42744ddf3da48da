#pragma once

#include <cstdint>

#include "base/rooms.h"

namespace triptych::data {

/// The order in which samples are seen: for each epoch a permutation of [0, num_samples) that is computed, not stored.
/// A pure function of (seed, epoch, index): nothing of the mesh, the threads or the history enters, so any rank finds
/// any position of the stream in constant time and memory. Thread-safe.
///
/// A Feistel network over the smallest power of two that holds num_samples, its round function Philox, walked until the
/// value falls in range (at most two passes on average). Source: Black and Rogaway 2002, Ciphers with arbitrary finite
/// domains, section 3 (cycle walking).
class SampleOrder {
 public:
  /// num_samples >= 1.
  SampleOrder(uint64_t seed, uint64_t num_samples);

  uint64_t num_samples() const { return num_samples_; }
  /// The sample at `index` < num_samples() of `epoch`.
  uint64_t sample(uint64_t epoch, uint64_t index) const;

  struct Place {
    uint64_t epoch, index;
  };
  /// Where position `position` of the endless stream lies.
  Place place(uint64_t position) const { return {position / num_samples_, position % num_samples_}; }
  /// The sample at `position` of the endless stream.
  uint64_t sample_at(uint64_t position) const {
    const Place p = place(position);
    return sample(p.epoch, p.index);
  }

 private:
  uint64_t seed_, num_samples_;
  uint32_t left_bits_, right_bits_;
};

}  // namespace triptych::data
