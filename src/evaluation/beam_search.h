#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/rooms.h"

namespace triptych::evaluation {

struct BeamSearchOptions {
  int64_t num_beams = 1;   ///< 1: greedy decoding
  int64_t max_length = 0;  ///< tokens of a result, the end token included; at least 1
  int32_t begin_token = 0, end_token = 0;
  /// A sequence of n tokens has the score log P / ((5 + n) / 6)^alpha, the length normalisation of Wu et al. 2016
  /// (Google's Neural Machine Translation System, equation 14). 0: log P itself, which prefers short ones.
  double alpha = 0.6;
};

struct DecodedSequence {
  std::vector<int32_t> tokens;  ///< without the begin and end tokens
  double log_probability = 0;   ///< of its tokens, the end token included
  double score = 0;             ///< log_probability, normalised by its length
  bool is_finished = false;     ///< it has its end token; otherwise it was cut at max_length
};

/// Computes the next tokens' log-probabilities for rows = samples * num_beams rows, row = sample * num_beams + beam.
///
///   parents   of each row, the row that it goes on from: the state (a key/value cache) moves there first. At the first
///             call each row's own. Always a row of the same sample.
///   tokens    of each row, the last token; at the first call begin_token
///   returns   [rows, vocabulary], row-major, valid until the next call; -infinity for what may not come
///
/// All rows are asked at every call, in a shape that stays the same; what those answer that hold nothing (any more) is
/// ignored.
using DecodingStep =
    std::function<std::span<const float>(std::span<const int64_t> parents, std::span<const int32_t> tokens)>;

/// The sequence with the best score that beam search finds, for each of several samples at once.
///
/// Of all continuations of a sample's live beams the most probable are kept, as many as there are live beams (at the
/// first step num_beams); those that end are complete and leave the beam, which is then narrower (Sutskever et al.
/// 2014, 3.2). So one beam is greedy decoding, and a beam that is wide enough is an exhaustive search. A sample is done
/// when its best complete sequence can no longer be beaten, or no beam lives. What is cut at max_length is a result
/// only if none is complete. Equal values: the lower beam first, then the lower token; of equal scores the sequence
/// that was complete first. So the result is a function of the log-probabilities alone.
///
///   num_given   of each sample, or nothing for none: tokens at its beginning that `step` leaves no choice of. They are
///               no part of the result, of its length and of its score, but count for max_length, which is more
///
/// Cost: at most max_length calls of `step`. Throws InternalError for options outside their ranges, for a result of
/// `step` that is no whole number of rows or lacks the end token, and for a log-probability that is NaN or above 0 by
/// more than rounding.
std::vector<DecodedSequence> beam_search(const DecodingStep& step, int64_t num_samples,
                                         const BeamSearchOptions& options, std::span<const int64_t> num_given = {});

}  // namespace triptych::evaluation
