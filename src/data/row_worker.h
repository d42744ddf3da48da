#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "data/dataset.h"
#include "data/field_source.h"
#include "data/loader.h"
#include "data/sample_order.h"

namespace triptych::data {

/// Work done on behalf of a batch, in nanoseconds and counts.
struct RowWork {
  int64_t storage_ns = 0, decode_ns = 0, collate_ns = 0;
  uint64_t num_samples = 0, bytes_read = 0;

  void add(const RowWork& other);
};

/// A bad sample and where it was met; orders reports in the same way whatever thread found them.
struct BadRow {
  int64_t row = 0;
  int attempt = 0;
  BadSample bad;
};

/// Samples that are tried for a row of a training. With one sample in ten bad, all fail once in 10^16 rows.
inline constexpr int kMaxAttempts = 16;

/// A set of samples that grows, of a bit each. Thread-safe.
class SampleSet {
 public:
  explicit SampleSet(uint64_t num_samples) : words_(num_samples / 64 + 1) {}
  void insert(uint64_t i) { words_[i / 64].fetch_or(uint64_t{1} << i % 64, std::memory_order_relaxed); }
  bool contains(uint64_t i) const { return words_[i / 64].load(std::memory_order_relaxed) >> i % 64 & 1; }

 private:
  std::vector<std::atomic<uint64_t>> words_;
};

/// The sources of a data set as an order of samples sees them.
///   weights        one a source; of one source, none is needed
///   window_shards  see EpochOrder; 0: no windows
std::vector<OrderedSource> ordered_sources(const Dataset& dataset, std::span<const double> weights,
                                           uint64_t window_shards);

/// The stream of samples that a loader reads. Immutable but for what has been found sound.
struct SampleStream {
  SampleStream(std::shared_ptr<const Dataset> source, LoaderOptions with);

  std::shared_ptr<const Dataset> dataset;
  LoaderOptions options;
  std::shared_ptr<const std::vector<FieldSpec>> fields;  ///< of all the sources
  SampleParts reads = SampleParts::kNone;                ///< what any source reads
  SampleOrder order;
  /// Samples that were used once: one whose image no source reads need not be looked at again. Of no size where none is
  /// looked at.
  SampleSet sound;
  /// Whether images that no source reads are looked at.
  bool checks_images() const { return options.check_unused_images && !has_part(reads, SampleParts::kImage); }

  int64_t num_rows() const {
    const int64_t rows = (options.global_batch + options.dp_size - 1) / options.dp_size;
    return std::max(rows, options.training ? int64_t{0} : options.rows);
  }
  /// Of one pass of an evaluation.
  uint64_t num_items() const;
  /// The samples of a global batch of the training stream, sorted.
  std::vector<uint64_t> batch_samples(int64_t step) const;
  /// What replaces the sample at a position of the training stream, for attempt > 0: none of the batch's own samples,
  /// which are given sorted, and none that replaces another of its rows, as far as a data set of few batches allows it.
  uint64_t replacement(uint64_t position, int attempt, std::span<const uint64_t> batch_samples) const;
  struct Item {
    uint64_t sample = 0;
    uint32_t caption = 0;  ///< which of the sample's texts, where captions are the items
  };
  /// Tells sources behind an address which shards the training reads at a step and soon after. One thread at a time.
  void expect(int64_t step);
  /// An item of an evaluation; position < num_items().
  Item evaluation_item(uint64_t position) const;

 private:
  /// How many texts of the role the samples before every kCaptionStride-th one have, and in all; where captions are the
  /// items.
  static constexpr uint64_t kCaptionStride = 256;
  std::vector<uint64_t> captions_before_;
  std::vector<SourceOrder::Place> expected_;  // of each source: where the window begins that it was told of
};

/// Makes rows of batches out of samples: one worker's buffers, its fillers and its tally. One thread at a time.
class RowWorker {
 public:
  /// Throws what a source's `make` throws.
  explicit RowWorker(std::shared_ptr<SampleStream> stream);

  /// Fills rows [begin, end) of `batch`, whose step and first index are set, or ends after a row once `stopping`. A
  /// sample that cannot be used goes to `bad` and counts in batch.attempts; a row with kMaxAttempts has none.
  void fill(Batch& batch, int64_t begin, int64_t end, const std::atomic<bool>& stopping);
  /// Fills a row again with the sample of this attempt, or of the first later one that can be used. In an evaluation,
  /// clears the row.
  void refill(Batch& batch, int64_t row, int attempt);

  RowWork work;
  std::vector<BadRow> bad;

 private:
  void make_fillers();
  template <typename Body>
  void with_fillers(const Body& body);
  void fill_row(Batch& batch, int64_t row, int first_attempt);
  uint64_t training_sample(uint64_t position, int64_t step, int attempt);
  uint32_t text_of(SampleStream::Item item, const SampleRecord& record, uint64_t position) const;
  void use_sample(SampleStream::Item item, uint64_t position);

  struct Filler {
    std::unique_ptr<RowFiller> filler;
    std::size_t first_field, num_fields;
  };
  FieldRows rows_of(const Filler& f) const { return FieldRows(rows_).subspan(f.first_field, f.num_fields); }

  std::shared_ptr<SampleStream> stream_;
  std::vector<Filler> fillers_;             // one a source
  std::vector<std::span<std::byte>> rows_;  // of the row in work, one a field
  SampleBuffer buffer_;
  std::vector<uint64_t> batch_samples_;  // of batch_step_, where a sample of it had to be replaced
  int64_t batch_step_ = -1;
  ImageDecoder checker_;  // of images that no source reads
  Image image_;
};

}  // namespace triptych::data
