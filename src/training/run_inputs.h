#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/checkpoint_reader.h"
#include "data/dataset.h"
#include "data/tokenizer.h"
#include "training/run_config.h"

namespace triptych::training {

struct TrainingRequest {
  std::string resume;      ///< "latest", a step or a path; empty: a new run
  bool overwrite = false;  ///< a new run may replace one in run.dir

  /// Called where set-up is over, before anything is written: from there on a signal need not end the process.
  std::function<void()> on_start;
  /// The signal that asks this rank to stop, or 0. Called once a step.
  std::function<int()> stop_signal;
};

/// What a training run reads, opened and checked before anything is allocated or written.
struct RunInputs {
  std::shared_ptr<const Dataset> dataset;
  std::shared_ptr<const Tokenizer> tokenizer;  ///< null if the task reads no text
  std::optional<CheckpointReader> checkpoint;  ///< that the run goes on from
};

/// run.dir/checkpoints.
std::filesystem::path checkpoints_of(const RunConfig& config);

/// Throws UserError if the data set lacks what the task needs, there is no tokenizer or checkpoint, or a new run would
/// replace another without being asked to.
RunInputs open_run_inputs(const RunConfig& config, const TrainingRequest& request);

}  // namespace triptych::training
