#pragma once

#include <memory>
#include <optional>

#include "data/loader.h"
#include "data/row_agreement.h"
#include "execution/batch_feeder.h"
#include "training/run_inputs.h"
#include "training/session.h"

namespace triptych::training {

/// The batches that a run trains on: what this rank's stage reads of them, loaded in the background, agreed on by all
/// ranks, and brought onto the device ahead of the steps that use them.
class TrainingBatches {
 public:
  /// Everything must outlive this.
  ///   inputs  with data set and tokenizer
  ///   step    that were done before: the first batch is that of the next one
  /// Throws as Loader does, on this rank alone.
  TrainingBatches(const RunConfig& config, Session& session, Group& group, const RunInputs& inputs, int64_t step);

  /// See BatchFeeder. Collective.
  const Fields& next() { return feeder_->next(); }
  void prefetch() { feeder_->prefetch(); }
  double take_wait_ms() { return feeder_->take_wait_ms(); }

 private:
  std::unique_ptr<RowAgreement> agreement_;  // of the loader
  std::optional<Loader> loader_;
  std::optional<BatchFeeder> feeder_;
};

}  // namespace triptych::training
