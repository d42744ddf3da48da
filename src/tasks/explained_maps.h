#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "evaluation/attention_maps.h"
#include "tasks/explain.h"
#include "text/tokenizer.h"

namespace triptych::tasks {

// The maps of an explanation, of the attentions that a pass over a picture has shown, in the model's order.

/// Whether these maps are made of an attention.
bool is_explained(const std::string& attention, const ExplainedModel& model);

/// The heads' maps, the rollout, and where something is explained the relevance.
///
/// Through a fusion it is a product: how relevant each of the image's tokens is in the fusion, from where each token is
/// only itself (relevance over one sequence; StreamRelevance of two streams, the image's mean counted with the text's
/// first token where both are read; all alike where they are mixed without attention), times how relevant each patch is
/// to the token: normalized_relevance of the image's encoder, or what StreamRelevance says of a resampler's queries,
/// rows made to sum to 1.
void add_attention_maps(std::span<const AttentionWeights> all, const ExplainedModel& model, Explanation& explanation);

/// Where the decoder looked when it wrote each word: at the position before the word's pieces.
///   tokens      of the text, the begin token first
///   first_word  those before it have no map; at least 1
void add_word_maps(std::span<const AttentionWeights> all, const ExplainedModel& model, const Tokenizer& tokenizer,
                   std::span<const int32_t> tokens, int64_t first_word, Explanation& explanation);

}  // namespace triptych::tasks
