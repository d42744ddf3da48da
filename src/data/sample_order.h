#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/rooms.h"

namespace triptych::data {

/// The order in which samples are seen: for each epoch a permutation of [0, num_samples) that is computed, not stored,
/// and an endless stream of them that is cut into batches. A pure function of (seed, num_samples, batch, position):
/// nothing of the mesh, the threads or the history enters, so any rank finds any position of the stream. Thread-safe.
///
/// A Feistel network over the smallest power of two that holds num_samples, its round function Philox, walked until the
/// value falls in range (at most two passes on average). Source: Black and Rogaway 2002, Ciphers with arbitrary finite
/// domains, section 3 (cycle walking).
///
/// **No batch has a sample twice.** Where a batch begins in one epoch and ends in the next, the samples of its second
/// part that are in its first one too change places with the first later ones of their epoch that are not; nothing else
/// moves. That takes num_samples >= 2 * batch - 1, for the end of that epoch, which the next such batch begins with, to
/// stay as it is. A smaller set goes round in one order, so that any num_samples positions in a row are distinct, and
/// takes a new one whenever a batch ends with an epoch.
///
/// Cost: a position takes constant time, after once in an epoch the time of a batch's positions.
class SampleOrder {
 public:
  /// num_samples >= batch >= 1.
  SampleOrder(uint64_t seed, uint64_t num_samples, uint64_t batch = 1);

  uint64_t num_samples() const { return num_samples_; }
  /// True if the epochs of this set do not all have orders of their own.
  bool goes_round() const { return num_samples_ < 2 * batch_ - 1 && num_samples_ != batch_; }
  /// The sample at `index` < num_samples() of the permutation of `epoch`, before batches are looked at.
  uint64_t sample(uint64_t epoch, uint64_t index) const;

  struct Place {
    uint64_t epoch, index;
  };
  /// Where position `position` of the endless stream lies.
  Place place(uint64_t position) const { return {position / num_samples_, position % num_samples_}; }
  /// The sample at `position` of the endless stream.
  uint64_t sample_at(uint64_t position) const;

 private:
  /// Which index of an epoch stands at another's place; those that are not in it stand at their own.
  using Moves = std::unordered_map<uint64_t, uint64_t>;
  Moves make_moves(uint64_t epoch) const;
  std::shared_ptr<const Moves> moves(uint64_t epoch) const;

  uint64_t seed_, num_samples_, batch_;
  uint32_t left_bits_, right_bits_;

  struct Known {
    uint64_t epoch = ~uint64_t{0};
    std::shared_ptr<const Moves> moves;
  };
  mutable std::mutex mutex_;
  mutable std::array<Known, 2> known_;  // of two epochs in a row: batches are read ahead
};

}  // namespace triptych::data
