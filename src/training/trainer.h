#pragma once

#include "parallel/world.h"
#include "training/run_config.h"
#include "training/run_inputs.h"

namespace triptych::training {

/// How a run ended that did not fail.
struct TrainingEnd {
  int64_t step = 0;
  int stop_signal = 0;  ///< that ended it before its last step, the same on every rank; 0: none
};

/// Trains as the config says, from the beginning or from parameters of another run (init_from.h), or goes on from a
/// checkpoint of any mesh, until training.stop_after or training.steps, and leaves a checkpoint there. A rank whose
/// `request.stop_signal` says so ends the run of all behind the step in work (under CUDA one step later), with a
/// checkpoint. Writes into run.dir: run.lock (while it runs), run.json, init.json, config.toml (effective),
/// metrics.jsonl, checkpoints/, report.html; and nothing if the checkpoint is where it would stop.
///
/// Collective. A step whose gradients are not finite on any rank changes nothing and is counted on all. After
/// training.max_skipped_steps of them in a row the run ends with an AgreedError (the world's) on every rank; parameters
/// that are not finite are never saved. Errors of set-up and of saving are AgreedError on every rank.
TrainingEnd train(const RunConfig& config, World& world, const TrainingRequest& request);

}  // namespace triptych::training
