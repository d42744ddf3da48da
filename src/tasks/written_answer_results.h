#pragma once

#include <string>
#include <vector>

#include "tasks/caption_results.h"

namespace triptych::tasks {

/// What the model writes after a question about the one picture of `fields`, by the first of the methods. Collective.
std::string write_answer(Inference& inference, const Fields& fields, const std::string& question,
                         const Tokenizer& tokenizer, const CaptionOptions& options);

/// Answers that the model writes after the questions of the sets: "answer accuracy", the share that is the first of the
/// question's answers, and "VQA score", against all of them (vqa_accuracy where there are at least four, else whether
/// it is one of them); compared as normalize_answer says. Beside it each question's most frequent answer in the set,
/// which does not look at the picture, and the most frequent of all. By each method; of a model that sees pictures also
/// from the picture alone and from the question alone, the other being hidden. Collective.
///   sources    of the fields that the model reads, in which "tokens" are a row's prompt
///   explainer  of a picture and a question
EvaluationResults written_answer_results(Inference& inference, const EvaluationInputs& inputs,
                                         const std::vector<FieldSource>& sources, const CaptionOptions& options,
                                         const SampleExplainer& explainer);

}  // namespace triptych::tasks
