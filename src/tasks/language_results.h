#pragma once

#include <vector>

#include "tasks/caption_results.h"

namespace triptych::tasks {

/// How well a language model foretells the texts of the sets: perplexity, exp of the mean of -log P over all tokens of
/// all captions, the end token among them. Beside it two that look at no word before: the set's own token frequencies,
/// which no model of single tokens can beat, and all pieces alike. Collective.
///   sources      of the fields that the model reads, "targets" among them
///   needs_image  captions of samples without a picture that can be used are left out, and the same is measured with
///                the pictures hidden ("text only")
EvaluationResults perplexity_results(Inference& inference, const EvaluationInputs& inputs,
                                     const std::vector<FieldSource>& sources, bool needs_image);

/// Texts that the model, which sees no pictures, writes from each prompt by each method: a panel of examples.
/// Collective.
Panel written_texts(Inference& inference, const Tokenizer& tokenizer, const CaptionOptions& options);

}  // namespace triptych::tasks
