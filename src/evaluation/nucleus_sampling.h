#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "evaluation/beam_search.h"

namespace triptych::evaluation {

/// Nucleus sampling: Holtzman et al. 2020 (The Curious Case of Neural Text Degeneration), section 3.1.
struct NucleusOptions {
  double top_p = 0.9;      ///< p of the paper, above 0, at most 1: then all tokens may come
  double temperature = 1;  ///< above 0: probabilities are softmax(log P / temperature) before the nucleus is taken
};

/// A token of the nucleus: of the fewest tokens whose probabilities sum to top_p or more, the most probable ones first,
/// of equal ones the lower first. Each comes with its probability over the nucleus' sum.
///
///   log_probabilities   [V], -infinity for what may not come; they need not sum to 1
///   uniform             in [0, 1): the tokens in that order take it in turn
///
/// Cost: sorts V numbers. Throws InternalError for options outside their ranges, and where nothing may come.
int32_t sample_nucleus(std::span<const float> log_probabilities, const NucleusOptions& options, double uniform);

struct SamplingOptions {
  NucleusOptions nucleus;
  int64_t max_length = 0;  ///< tokens of a result, the end token included; at least 1
  int32_t begin_token = 0, end_token = 0;
  uint64_t seed = 0;
  int64_t first_item = 0;  ///< number of the first sample among all that are written for
};

/// A sequence for each of several samples, drawn token by token. What is drawn t-th for item i is drawn by (seed, i, t)
/// alone, so that neither batches nor meshes make a difference, as far as the probabilities are the same.
///
///   step        see DecodingStep, of one beam a sample
///   num_given   see beam_search
///
/// A result's log-probability is that of its tokens as `step` says it, whatever the temperature; so is its score.
std::vector<DecodedSequence> sample_sequences(const DecodingStep& step, int64_t num_samples,
                                              const SamplingOptions& options, std::span<const int64_t> num_given = {});

}  // namespace triptych::evaluation
