#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_reader.h"
#include "data/dataset.h"
#include "parallel/agreement.h"
#include "parallel/world.h"
#include "report/run_status.h"
#include "text/tokenizer.h"
#include "training/run_config.h"
#include "training/step_trace.h"

namespace triptych::training {

struct TrainingRequest {
  std::string resume;                     ///< "latest", a step, a path, or "auto"; empty: a new run
  bool overwrite = false;                 ///< a new run may replace one in run.dir
  std::vector<std::string> allow_change;  ///< keys that may differ from the checkpoint's config (resume_rules.h)
  TraceRequest trace;
  std::optional<PlannedStep> planned;  ///< for the report; of the first rank

  /// Called where set-up is over, before anything is written: from there on a signal need not end the process.
  std::function<void()> on_start;
  /// The signal that asks this rank to stop, or 0. Called once a step.
  std::function<int()> stop_signal;
};

/// What a training run reads, opened and checked before anything is allocated or written.
struct RunInputs {
  std::shared_ptr<const Dataset> dataset;
  std::string data_hash;                       ///< of its samples, in order
  std::vector<double> weights;                 ///< of its sources
  std::string order;                           ///< how samples are drawn from it; empty: from one source, all at once
  std::shared_ptr<const Tokenizer> tokenizer;  ///< null if the task reads no text
  std::optional<CheckpointReader> checkpoint;  ///< that the run goes on from
  std::optional<CheckpointReader> initial;     ///< of another run, whose parameters a new run begins with
};

/// run.dir/checkpoints.
std::filesystem::path checkpoints_of(const RunConfig& config);

/// The training set. Throws UserError if there is none, its sources do not fit together, or it lacks what the task
/// needs.
void open_data(const RunConfig& config, RunInputs& inputs);
/// The same on all ranks. Of those of a machine one checks indexes and shards, and the others take that over for the
/// files that they see under the same identity (MappedIndex). Collective.
///   progress  called on the first rank while an index is checked
void open_data_together(const RunConfig& config, World& world, RunInputs& inputs, const IndexProgress& progress = {});
/// The tokenizer of a new run, or the checkpoint's; behind open_data. Throws UserError if there is none, or it has more
/// pieces than the model has rows.
void open_tokenizer(const RunConfig& config, RunInputs& inputs);

/// The checkpoint that a request names; none if it names none, or is "auto" and no step was saved in run.dir. Every
/// rank opens the one that the first rank found. "auto" takes the one that was saved last and is sound: all its files
/// are hashed, each by one rank, and what is passed over is told in `notes`.
/// Throws UserError if there is no such checkpoint, WorldError if it, or with "auto" each of them, is damaged.
/// Collective.
std::optional<CheckpointReader> find_checkpoint(const RunConfig& config, const std::string& resume, Group& group,
                                                std::vector<std::string>& notes);

/// The checkpoint that init.from names; none if it names none. As find_checkpoint. Collective.
std::optional<CheckpointReader> find_initial(const RunConfig& config, Group& group);

/// Throws UserError if the checkpoint's run saw other samples than the data set has, or would go on in another order:
/// other sources, shares of them, or windows of shards.
/// Checkpoints of before there was a hash are compared by the data set's id and size, which `notes` then say.
void require_same_data(const CheckpointReader& reader, const RunInputs& inputs, std::vector<std::string>& notes);

/// What all ranks must have in common of it.
std::vector<SharedFact> facts_of(const RunInputs& inputs);

}  // namespace triptych::training
