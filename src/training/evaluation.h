#pragma once

#include <span>

#include "evaluation/baseline.h"
#include "report/panel.h"
#include "training/retrieval.h"
#include "training/run_config.h"

namespace triptych {

/// What `triptych eval` finds: retrieval on each of evaluation.sets, in both directions, and some examples.
struct Evaluation {
  TablePanel results;
  GalleryPanel from_text, from_pictures;
};

/// `baselines` are asked for the metrics "image to text recall@1", ..., "text to image recall@10" of each set.
/// Throws UserError if evaluation.sets names none, or a set has no images or captions.
Evaluation evaluate(const RunConfig& config, Embedder& embedder, std::span<const Baseline> baselines);

/// run.dir/report.html from the run's metrics and, after an evaluation, its results. `evaluation` may be null.
void write_run_report(const RunConfig& config, int64_t num_parameters, const Evaluation* evaluation);

}  // namespace triptych
