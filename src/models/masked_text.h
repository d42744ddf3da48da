#pragma once

#include "models/text_stack.h"

namespace triptych::models {

/// Devlin et al. 2019, BERT, as a pre-norm stack: a bidirectional encoder that guesses hidden tokens. The vocabulary's
/// last token is the one that stands for them.
struct MaskedTextConfig {
  TextStackConfig text;          ///< not causal
  int64_t num_masked = 1;        ///< K, the most tokens of a text that are guessed
  bool tied_output = true;       ///< scores come from the token embedding's matrix
  bool transform_output = true;  ///< before that BERT's transform: a product, GELU, a norm; and a bias for each token
};

/// "text.output": the last norm of a stack of `sizes`, if there is one, and scores of every token: from the slot
/// `stream` [T, H] to "logits" [K, V], place "logits", at the places of the field "masked_positions", where that is not
/// negative. Nowhere else are scores computed, nor are they ever gathered.
void append_masked_token_logits(std::vector<BlockSpec>& blocks, const Slot& stream, const TransformerSizes& sizes,
                                const MaskedTextConfig& config);

/// Ends with the slot "logits" [K, V], place "logits": scores of every token at the places of the field
/// "masked_positions", where that is not negative. Nowhere else are scores computed, nor are they ever gathered.
ModelSpec masked_text(const MaskedTextConfig& config);

}  // namespace triptych::models
