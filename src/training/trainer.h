#pragma once

#include "parallel/world.h"
#include "training/run_config.h"
#include "training/run_inputs.h"

namespace triptych::training {

/// Trains as the config says, or goes on from a checkpoint of any mesh, until training.stop_after or training.steps,
/// and leaves a checkpoint there. Writes into run.dir: run.lock (while it runs), run.json, config.toml (effective),
/// metrics.jsonl, checkpoints/, report.html; and nothing if the checkpoint is where it would stop.
///
/// Collective. A step whose gradients are not finite on any rank changes nothing and is counted on all. Errors of
/// set-up and of saving are AgreedError on every rank.
void train(const RunConfig& config, World& world, const TrainingRequest& request);

}  // namespace triptych::training
