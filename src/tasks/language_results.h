#pragma once

#include <vector>

#include "tasks/caption_results.h"

namespace triptych::tasks {

/// How well a language model foretells the texts of the sets: perplexity, exp of the mean of -log P over all tokens of
/// all captions, the end token among them. Beside it two that look at no word before: the set's own token frequencies,
/// which no model of single tokens can beat, and all pieces alike. Collective.
///   sources      of the fields that the model reads, "targets" among them
///   needs_image  captions of samples without a picture that can be used are left out
EvaluationResults perplexity_results(Inference& inference, const EvaluationInputs& inputs,
                                     std::span<const FieldSource> sources, bool needs_image);

/// Texts that the model, which sees no pictures, writes from each prompt by each method: a panel of examples.
/// Collective.
Panel written_texts(Inference& inference, const Tokenizer& tokenizer, const CaptionOptions& options);

/// Answers that the model writes after the questions of the sets: "answer accuracy", the share that is the first of the
/// question's answers, and "VQA score", against all of them (vqa_accuracy where there are at least four, else whether
/// it is one of them); compared as normalize_answer says. Beside it each question's most frequent answer in the set,
/// which does not look at the picture, and the most frequent of all. By each method. Collective.
///   sources   of the fields that the model reads, in which "tokens" are a row's prompt
EvaluationResults written_answer_results(Inference& inference, const EvaluationInputs& inputs,
                                         std::span<const FieldSource> sources, const CaptionOptions& options);

}  // namespace triptych::tasks
