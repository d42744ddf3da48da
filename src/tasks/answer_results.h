#pragma once

#include <memory>
#include <string>
#include <vector>

#include "evaluation/inference.h"
#include "tasks/sample_explainer.h"
#include "tasks/task.h"

namespace triptych::tasks {

/// What is measured of a model that scores answers.
struct AnswerMeasure {
  std::string slot = "logits";  ///< float [C]
  std::string gate;             ///< slot of gates, float [H], the image's share of each feature; "": it has none
  int64_t num_answers = 0;      ///< C
};

/// Questions with a label, of each set: how often the answer that scores best is right, with image and question, with
/// the image alone and with the question alone, the other being hidden. Collective.
///
/// Two numbers each: "answer accuracy", the share that is the label's class, and "VQA score", against all answers of
/// the question: vqa_accuracy where there are at least four, else whether it is one of them. Accuracy also for
/// questions whose answer is yes or no, and for the others. Beside them stand the most frequent answer of all, the one
/// of each question's text, which does not look at the image, and chance. Panels: a table, examples with maps.
///
///   sources    of the fields that the model reads, "image_present" and "text_present" among them
///   explainer  of an image and a question, for the answer that scores best
EvaluationResults answer_results(Inference& inference, const EvaluationInputs& inputs,
                                 const std::vector<FieldSource>& sources, const AnswerMeasure& measure,
                                 const SampleExplainer& explainer);

}  // namespace triptych::tasks
