#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "evaluation/inference.h"
#include "tasks/task.h"

namespace triptych::tasks {

/// What is measured of a model that guesses hidden tokens.
struct MaskedTokenMeasure {
  std::string slot = "logits";  ///< [K, V], at the places of the field "masked_positions"
  int64_t vocabulary = 0;       ///< V
  bool sees_images = false;     ///< beside the text
};

/// How often the true token is the first of all pieces, or among the first five, over every caption of the sets; beside
/// it the share of the token that is asked for most often. Of a model that sees images, of captions whose image is
/// there, and the same tokens again with the images hidden ("text only"). Panels: a table, examples. Collective.
///   sources   of the fields that the model reads, with their masks
EvaluationResults masked_token_results(Inference& inference, const EvaluationInputs& inputs,
                                       const std::vector<FieldSource>& sources, const MaskedTokenMeasure& measure);

}  // namespace triptych::tasks
