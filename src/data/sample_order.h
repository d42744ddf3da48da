#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/source_mix.h"
#include "data/source_order.h"

namespace triptych::data {

/// A source as the order of samples sees it.
struct OrderedSource {
  uint64_t num_samples = 0;
  double weight = 1;
  std::vector<uint64_t> first_sample = {};  ///< of each of its shards, and the end; empty: the order needs no shards
  uint64_t window_shards = 0;               ///< see EpochOrder; 0: no windows
};

/// The order in which a training sees samples of one or several sources: an endless stream, cut into batches of one
/// size. A pure function of (seed, sources, batch, position). Samples are numbered through all sources. Thread-safe.
///
/// SourceMix says which source a position is of, and each source has a SourceOrder of its own: it goes round in its own
/// epochs, and no batch has a sample twice. One source alone has the order of a SourceOrder.
class SampleOrder {
 public:
  /// One source; num_samples >= batch >= 1.
  SampleOrder(uint64_t seed, uint64_t num_samples, uint64_t batch = 1);
  /// batch >= 1, and each source has as many samples as a batch has rows of it at most (mix().most). Throws UserError
  /// on weights that are none.
  SampleOrder(uint64_t seed, const std::vector<OrderedSource>& sources, uint64_t batch);

  uint64_t num_samples() const { return first_sample_.back(); }
  const SourceMix& mix() const { return mix_; }
  const SourceOrder& source(std::size_t s) const { return *orders_.at(s); }
  uint64_t first_of_source(std::size_t s) const { return first_sample_.at(s); }

  /// The sample at `position` of the endless stream.
  uint64_t sample_at(uint64_t position) const;
  /// As SourceOrder::replacement, of the position's source.
  uint64_t replacement(uint64_t position, uint64_t word, bool own) const;

 private:
  SourceMix mix_;
  std::vector<std::unique_ptr<const SourceOrder>> orders_;
  std::vector<uint64_t> first_sample_{0};  // of each source, and the end
};

}  // namespace triptych::data
