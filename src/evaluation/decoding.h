#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "evaluation/beam_search.h"
#include "evaluation/inference.h"
#include "evaluation/nucleus_sampling.h"

namespace triptych::evaluation {

/// How a decoder writes.
struct DecodingOptions {
  std::string logits = "logits";  ///< the slot that scores the next token
  std::string memory = "memory";  ///< the slot that the decoder attends to
  int64_t length = 0;             ///< tokens of a text at most, begin and end included
  int64_t num_tokens = 0;         ///< ids from here on are no tokens: rows that only fill up the vocabulary
  std::vector<int32_t> never;     ///< tokens that are not written, such as padding
  int64_t num_beams = 1;          ///< 1: greedy
  double alpha = 0.6;             ///< see BeamSearchOptions
  /// Texts are drawn, not searched for; see SamplingOptions.
  std::optional<NucleusOptions> nucleus;
  uint64_t seed = 0;
  int64_t first_item = 0;
};

/// Texts for some samples, token by token with a cache of keys and values, on any mesh. Collective; every rank gets the
/// same.
///   fields   of the samples, alike on every rank: what the memory is computed from
///   prompts   of each sample, tokens that its text begins with, the begin token first; they are no part of the results
/// Throws InternalError if a prompt is empty or leaves no room for a token.
std::vector<DecodedSequence> decode(Inference& inference, const Fields& fields,
                                    std::span<const std::vector<int32_t>> prompts, int32_t end_token,
                                    const DecodingOptions& options);
/// The same with one prompt for all.
std::vector<DecodedSequence> decode(Inference& inference, const Fields& fields, std::span<const int32_t> prompt,
                                    int32_t end_token, const DecodingOptions& options);

}  // namespace triptych::evaluation
