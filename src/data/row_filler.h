#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/loader.h"
#include "data/sample_order.h"

namespace triptych {

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

/// A set of samples that grows. Thread-safe.
class SampleSet {
 public:
  explicit SampleSet(uint64_t num_samples) : words_(num_samples / 64 + 1) {}
  void insert(uint64_t i) { words_[i / 64].fetch_or(uint64_t{1} << i % 64, std::memory_order_relaxed); }
  bool contains(uint64_t i) const { return words_[i / 64].load(std::memory_order_relaxed) >> i % 64 & 1; }

 private:
  std::vector<std::atomic<uint64_t>> words_;
};

/// The stream of samples that a loader reads. Immutable but for what has been found sound.
struct SampleStream {
  std::shared_ptr<const Dataset> dataset;
  std::shared_ptr<const Tokenizer> tokenizer;
  LoaderOptions options;
  SampleOrder order;
  /// Samples that were used once. Each rank meets a sample first at the same position of the stream, so all of them
  /// judge it then; later a rank without images need not look at its image again.
  SampleSet sound;

  int64_t batch() const { return options.global_batch / options.dp_size; }
  /// The sample at a position of the training stream; attempts after the first are replacements.
  uint64_t training_sample(uint64_t position, int attempt) const;
};

/// Makes rows of batches out of samples: one worker's buffers and its tally. One thread at a time.
class RowFiller {
 public:
  explicit RowFiller(std::shared_ptr<SampleStream> stream) : stream_(std::move(stream)) {}

  /// Fills rows [begin, end) of `batch`, whose step and sizes are set, or ends after a row once `stopping`. A sample
  /// that cannot be used goes to `bad`. Throws WorldError when no replacement can be used either, or when a sample that
  /// was sound before is so no longer: other ranks may still hold it for sound.
  void fill(Batch& batch, int64_t begin, int64_t end, const std::atomic<bool>& stopping);

  RowWork work;
  std::vector<BadRow> bad;

 private:
  void fill_row(Batch& batch, int64_t row, std::string& caption);
  void use_sample(uint64_t sample, uint64_t position, Batch& batch, std::size_t row, std::string& caption);
  void use_image(uint64_t position, Batch& batch, std::size_t row);
  void use_caption(uint64_t position, std::string& caption);
  void clear_row(Batch& batch, std::size_t row) const;
  void tokenize(Batch& batch, int64_t begin, int64_t end);

  std::shared_ptr<SampleStream> stream_;
  SampleBuffer buffer_;
  std::vector<std::string> captions_;  // of the rows in work
  ImageDecoder decoder_;
  Image image_;
  Resizer resizer_;
};

}  // namespace triptych
