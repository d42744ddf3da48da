#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "data/epoch_order.h"

namespace triptych::data {

/// How a source's endless stream of samples is cut into batches.
struct BatchCuts {
  using Stretch = EpochOrder::Stretch;

  uint64_t most = 1;  ///< positions of one batch
  /// The positions of the batch that has a position. Empty: every batch has `most`.
  std::function<Stretch(uint64_t position)> batch_of = {};

  Stretch at(uint64_t position) const {
    if (batch_of) return batch_of(position);
    return {position - position % most, position - position % most + most};
  }
};

/// The order in which the samples of one source are seen: an endless stream of epochs, cut into batches. A pure
/// function of the position and what it is made of: nothing of the mesh, the threads or the history enters, so any rank
/// finds any position of the stream. Thread-safe.
///
/// **No batch has a sample twice.** Where a batch begins in one epoch and ends in the next, the samples of its second
/// part that are in its first one too change places with the first later ones of their epoch that are not; nothing else
/// moves. That takes num_samples >= 2 * most - 1, for the end of that epoch, which the next such batch begins with, to
/// stay as it is. A smaller set goes round in one order, so that any num_samples positions in a row are distinct, and,
/// where all batches have one size, takes a new one whenever a batch ends with an epoch.
///
/// Cost: a position takes constant time, after once in an epoch the time of a batch's positions.
class SourceOrder {
 public:
  /// num_samples >= batch >= 1; every batch has as many.
  SourceOrder(uint64_t seed, uint64_t num_samples, uint64_t batch = 1);
  /// The order's num_samples >= cuts.most >= 1.
  SourceOrder(std::unique_ptr<const EpochOrder> order, BatchCuts cuts);

  uint64_t num_samples() const { return order_->num_samples(); }
  /// True if the epochs of this set do not all have orders of their own.
  bool goes_round() const;
  /// The sample at `index` < num_samples() of `epoch`, before batches are looked at.
  uint64_t sample(uint64_t epoch, uint64_t index) const { return order_->sample(epoch, index); }

  struct Place {
    uint64_t epoch, index;
  };
  /// Where position `position` of the endless stream lies.
  Place place(uint64_t position) const { return {position / num_samples(), position % num_samples()}; }
  /// The sample at `position` of the endless stream.
  uint64_t sample_at(uint64_t position) const;
  /// What replaces the sample at a position, for `word` a random one: one of the same epoch as the batch's begin, or of
  /// the window there, if that has samples for several batches. With `own`, among places that no other position of the
  /// batch draws from.
  uint64_t replacement(uint64_t position, uint64_t word, bool own) const;
  const EpochOrder& epochs() const { return *order_; }

 private:
  /// Which index of an epoch stands at another's place; those that are not in it stand at their own.
  using Moves = std::unordered_map<uint64_t, uint64_t>;
  Moves make_moves(uint64_t epoch) const;
  std::shared_ptr<const Moves> moves(uint64_t epoch) const;

  std::unique_ptr<const EpochOrder> order_;
  BatchCuts cuts_;

  struct Known {
    uint64_t epoch = ~uint64_t{0};
    std::shared_ptr<const Moves> moves;
  };
  mutable std::mutex mutex_;
  mutable std::array<Known, 2> known_;  // of two epochs in a row: batches are read ahead
};

}  // namespace triptych::data
