#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// How tokens of a text are hidden from a model that is to guess them. Source: Devlin et al. 2019, BERT, section 3.1.
struct TokenMasking {
  double share = 0.15;        ///< of a text's tokens that are to be guessed, in (0, 1]
  double mask_share = 0.8;    ///< of these stand as the mask token
  double random_share = 0.1;  ///< of these as a token drawn from all pieces; the rest stay as they are
};

/// The tokens that text can be made of: [0, num_pieces) but the special ones; the one that stands for a hidden one,
/// which text never has; and how many tokens stand before and behind a text's own.
struct MaskVocabulary {
  int32_t num_pieces = 0;
  int32_t mask_token = 0;
  std::vector<int32_t> special;  ///< ascending
  int32_t num_before = 1, num_after = 1;
};

/// K: how many tokens are to be guessed of a text that has `num_pieces` of its own.
int64_t masked_token_count(int64_t num_pieces, double share);

/// Hides masked_token_count of the text's own tokens, at least one, if there is one; K at most.
///
///   tokens      the text's, [0, length) of them, those before and behind it with them; changed in place
///   positions   [K] where tokens are to be guessed, ascending; -1 beyond
///   targets     [K] the tokens that stood there; -1 beyond
///
/// What is drawn is a function of (seed, position), the row's place in the stream, and of the token's place.
void mask_tokens(std::span<int32_t> tokens, int64_t length, const TokenMasking& masking,
                 const MaskVocabulary& vocabulary, uint64_t seed, uint64_t position, std::span<int32_t> positions,
                 std::span<int32_t> targets);

}  // namespace triptych::data
