#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/field_source.h"
#include "data/modality_dropout.h"
#include "data/row_agreement.h"

namespace triptych::data {

/// A sample that could not be used, and why.
struct BadSample {
  uint64_t sample = 0;
  std::string name;    ///< the data set's name for it: shard and place
  std::string reason;  ///< the error's text, and the rank that met it where several agree
};

/// What an evaluation goes through once, in order.
enum class EvaluationItems {
  kSamples,   ///< every sample, with its first text of the loader's role
  kCaptions,  ///< every text of that role of every sample; a source of pixels would decode an image once a caption
};

struct LoaderOptions {
  std::vector<FieldSource> fields;  ///< those that this rank needs; may be none
  int64_t global_batch = 0;         ///< rows over all of `dp`
  int dp_rank = 0, dp_size = 1;
  uint64_t seed = 0;
  int threads = 1;
  int prefetch = 3;  ///< batches in flight: scheduled, in work or ready, but not yet taken
  bool training = true;
  /// Which of a sample's texts rows are about; a sample that has none of them lacks its text.
  TextRole text_role = TextRole::kCaption;
  ModalityDropout modality_dropout;  ///< used when training
  /// Of the data set's sources, used when training: in which shares they are drawn from. Of one source, none is needed.
  std::vector<double> weights;
  /// Used when training: see EpochOrder's windows. 0: an epoch's order is of all of a source's samples.
  uint64_t shuffle_shards = 0;
  EvaluationItems items = EvaluationItems::kSamples;  ///< used when not training
  /// Not training, but measuring a loss: see LoadedSample::has_targets.
  bool for_loss = false;
  /// Of a rank, used when not training: more than its share of the global batch are padded, as are those of a batch
  /// that `dp` does not divide. 0: its share.
  int64_t rows = 0;
  /// Of the samples that the ranks that agree have seen (alone: this rank), or of 100 while they are fewer.
  double max_bad_fraction = 0.01;
  int64_t start_step = 0;
  /// Where no source reads images, each image is still decoded once (at the lowest cost) to see that it is sound: for
  /// an evaluation of texts, which leaves out those of a picture that cannot be used. A training in which some rank
  /// reads the images has the agreement instead.
  bool check_unused_images = true;
  /// Of the ranks that train together; null for one rank. Used by next(), which is collective then. Must outlive this.
  RowAgreement* agreement = nullptr;
  /// Called from next(), once for each bad sample, on every rank that agrees.
  std::function<void(const BadSample&)> on_bad_sample;
};

struct LoaderStats {
  /// The consumer's time in next() without a batch to take, and its parts: of each wait, the shares that the causes
  /// had in the work for that batch.
  double wait_ms = 0, wait_storage_ms = 0, wait_decode_ms = 0, wait_collate_ms = 0;
  /// Time of all workers together, by cause.
  double storage_ms = 0;  ///< reading and checking samples
  double decode_ms = 0;   ///< filling rows one by one: decoding and transforming images
  double collate_ms = 0;  ///< what fillers do for rows together: tokenizing
  int64_t num_batches = 0;
  uint64_t num_samples = 0;  ///< seen, bad ones included
  uint64_t bytes_read = 0;
  uint64_t num_bad = 0;          ///< times that a bad sample was met, by all ranks that agree
  uint64_t num_bad_samples = 0;  ///< each of them once
  std::vector<BadSample> bad;    ///< the first 100 of these
};

/// Reads, decodes, augments, tokenizes and collates in the background, on a pool of threads.
///
/// Training: row r of step s is position p = s * global_batch + r of an endless stream; its sample comes from
/// SampleOrder(seed, sources), its caption (one of its texts that have the role), the part that it hides and what
/// fillers draw from (seed, p). So a batch is a pure function of (seed, s, r) and of the data set, whatever threads,
/// dp_size, prefetch and start_step are. A sample that cannot be used is reported and replaced by another that the
/// batch does not have, drawn from (seed, p, attempt). Ranks that read the same rows agree on it: a row has the first
/// of its position's samples that all of them can use. So they train on the same samples whatever only one of them
/// cannot read, and on those of one rank that finds the same ones bad.
///
/// Evaluation (training = false): position p is sample p with its first caption, or caption p of all captions, once, in
/// order; both are texts of the role. The last batch is padded with rows of kNoSample. A sample that cannot be used, by
/// any rank, keeps its row, cleared on all.
///
/// A sample cannot be used if it cannot be read, its image is not sound or its caption is not UTF-8; any other error of
/// a filler ends the run.
///
/// At most `prefetch` batches are in flight, so memory is bounded; workers rest while they are all ready.
class Loader {
 public:
  /// Throws UserError on impossible options, an empty data set, an evaluation over texts of a role that none has, and
  /// when training with a global batch larger than the data set. Starts reading at once.
  Loader(std::shared_ptr<const Dataset> dataset, LoaderOptions options);
  /// Stops the workers after the sample they are at; may be called at any time.
  ~Loader();

  /// Batches of one pass in evaluation: ceil(items / global_batch). Endless in training: INT64_MAX.
  int64_t num_steps() const;
  /// The next batch, waiting for it if needed. Throws what a worker threw (of ranks that agree, on all of them what one
  /// threw), and WorldError with examples once more than max_bad_fraction of the samples were bad; the loader is then
  /// at its end. One caller at a time.
  Batch next();
  /// Gives the memory of a batch that next() gave back for use in a later one.
  void recycle(Batch&& batch);
  /// Of what next() has given so far.
  LoaderStats stats() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace triptych::data
