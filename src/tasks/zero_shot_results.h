#pragma once

#include <string>
#include <vector>

#include "tasks/task.h"

namespace triptych::tasks {

/// How an evaluation names classes to a model that knows none.
struct ZeroShotOptions {
  std::vector<std::string> templates;  ///< none: no zero-shot classification
  int64_t text_length = 0;

  bool is_asked() const { return !templates.empty(); }
};

/// evaluation.templates.
void read_zero_shot(ConfigReader& reader, ZeroShotOptions& options);

/// Throws UserError unless the set has pairs for retrieval or, where it is asked for, labelled images and the names of
/// the labels for zero-shot classification; or if a label has no name.
void check_pairs_or_classes(const Dataset& dataset, const ZeroShotOptions& options);

/// Those of some data-set folders that have pairs.
std::vector<std::string> sets_with_pairs(const std::vector<std::string>& sets);

/// Zero-shot classification (Radford et al. 2021): each picture of a set with named labels is of the class whose
/// templates' embedding is nearest to its own. Between the slots "image_embedding" and "text_embedding". Collective;
/// the results are rank 0's, and nothing where no set has named labels.
///   sources   of the fields that the model reads of a picture
EvaluationResults zero_shot_results(Inference& inference, const EvaluationInputs& inputs,
                                    std::span<const FieldSource> sources, const ZeroShotOptions& options);

}  // namespace triptych::tasks
