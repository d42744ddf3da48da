#pragma once

#include <cstdint>
#include <span>

#include "base/rooms.h"

namespace triptych::data {

/// How tokens of a text are hidden from a model that is to guess them. Source: Devlin et al. 2019, BERT, section 3.1.
struct TokenMasking {
  double share = 0.15;        ///< of a text's tokens that are to be guessed, in (0, 1]
  double mask_share = 0.8;    ///< of these stand as the mask token
  double random_share = 0.1;  ///< of these as a token drawn from all pieces; the rest stay as they are
};

/// The tokens that text can be made of: [kEndId + 1, num_pieces); and the one that stands for a hidden one, which text
/// never has.
struct MaskVocabulary {
  int32_t num_pieces = 0;
  int32_t mask_token = 0;
};

/// K: the most tokens that are to be guessed of a text of `length`, its begin and end included.
int64_t max_masked_tokens(int64_t length, double share);

/// Hides max_masked_tokens(length) of the tokens between the begin and the end: at least one, if there is one.
///
///   tokens      the text's, [0, length) of them; changed in place
///   positions   [K] where tokens are to be guessed, ascending; -1 beyond
///   targets     [K] the tokens that stood there; -1 beyond
///
/// What is drawn is a function of (seed, position), the row's place in the stream, and of the token's place.
void mask_tokens(std::span<int32_t> tokens, int64_t length, const TokenMasking& masking,
                 const MaskVocabulary& vocabulary, uint64_t seed, uint64_t position, std::span<int32_t> positions,
                 std::span<int32_t> targets);

}  // namespace triptych::data
