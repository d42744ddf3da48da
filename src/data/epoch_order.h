#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/philox.h"

namespace triptych::data {

/// The `index`-th number of a permutation of [0, size) that is computed, not stored.
///
/// A Feistel network over the smallest power of two that holds `size`, its round function Philox, walked until the
/// value falls in range (at most two passes on average). Source: Black and Rogaway 2002, Ciphers with arbitrary finite
/// domains, section 3 (cycle walking).
uint64_t permuted(RandomKey key, uint64_t size, uint64_t index);

/// In which order each epoch goes through a source's samples: a pure function of the seed, the epoch and what is said
/// here. Thread-safe.
///
/// Either a permutation of all samples; or one of the shards, cut into windows of so many of them, and in each window
/// one of its samples. Then reading stays within a window of shards at a time, which a bounded cache can hold.
///
/// Cost: constant time; with windows, once in an epoch the time of the number of shards, and memory of theirs.
class EpochOrder {
 public:
  EpochOrder(uint64_t seed, uint64_t num_samples);
  ///   first_sample   of each shard, and the number of samples
  ///   window_shards  0: no windows
  EpochOrder(uint64_t seed, std::vector<uint64_t> first_sample, uint64_t window_shards);

  uint64_t num_samples() const { return num_samples_; }
  /// The sample at `index` < num_samples().
  uint64_t sample(uint64_t epoch, uint64_t index) const;

  /// A stretch of an epoch: the indexes [begin, end).
  struct Stretch {
    uint64_t begin, end;
  };
  /// That of the window around an index; the whole epoch where there are no windows.
  Stretch window(uint64_t epoch, uint64_t index) const;
  /// The shards of that window; where there are none, all that are known.
  std::vector<uint32_t> shards(uint64_t epoch, uint64_t index) const;

 private:
  /// Of one epoch.
  struct Windows {
    std::vector<uint32_t> shards;       // in their order
    std::vector<uint64_t> first_index;  // of each window, and the end
  };
  std::shared_ptr<const Windows> windows(uint64_t epoch) const;
  std::size_t window_of(const Windows& windows, uint64_t index) const;
  uint64_t num_shards() const { return first_sample_.size() - 1; }

  uint64_t seed_, num_samples_;
  std::vector<uint64_t> first_sample_;
  uint64_t window_shards_ = 0;  // 0: no windows

  struct Known {
    uint64_t epoch = ~uint64_t{0};
    std::shared_ptr<const Windows> windows;
  };
  mutable std::mutex mutex_;
  mutable std::array<Known, 2> known_;  // of two epochs in a row
};

}  // namespace triptych::data
