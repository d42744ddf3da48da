#pragma once

#include <memory>
#include <span>

#include "tasks/task.h"
#include "tasks/zero_shot_results.h"

namespace triptych::tasks {

/// Retrieval between the slots "image_embedding" and "text_embedding" on each of the sets, in both directions, with
/// examples. Collective; the results are rank 0's.
EvaluationResults retrieval_results(Inference& inference, const EvaluationInputs& inputs,
                                    std::span<const FieldSource> sources);

/// What there is to measure of images and texts that meet: retrieval on the sets that have pairs, and where it is asked
/// for zero-shot classification on those that have named labels. Collective; the results are rank 0's.
EvaluationResults alignment_results(Inference& inference, const EvaluationInputs& inputs,
                                    std::span<const FieldSource> sources, const ZeroShotOptions& options);

}  // namespace triptych::tasks
