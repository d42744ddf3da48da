#pragma once

#include <string>
#include <vector>

#include "models/parts.h"

namespace triptych::models {

/// A Transformer over tokens: an encoder, or a decoder where it is causal.
struct TextStackConfig {
  int64_t length = 32;  ///< tokens of a text, the begin and end tokens included
  int64_t vocabulary = 8192;
  TransformerSizes sizes;
  bool causal = true;
  float dropout = 0;
  bool reads_padding = false;  ///< all of `length` tokens are the text (SigLIP); else padding is masked
  int64_t segments = 0;        ///< BERT's kinds of sentences, of which a text has the first; 0: there are none

  /// The field that masks the text's padding; "" if that is read.
  std::string lengths() const { return reads_padding ? "" : "lengths"; }
  /// "length=32 vocabulary=8192 width=256 ...", for fingerprints.
  std::string to_string() const;
};

/// "<name>.embed", from the fields "tokens" and "lengths" to the slot `name` [T, H].
///   is_tied   a later block scores tokens with the embedding's matrix
void append_token_embedding(std::vector<BlockSpec>& blocks, const std::string& name, const TextStackConfig& config,
                            bool is_tied);

/// "<name>.join": the slot `prefix` [P, H], whole, in front of the slot `text` [T, H], to the slot "<name>_sequence"
/// [P + T, H] that a causal stack goes over: so the text goes on from the prefix, as in Liu et al. 2023, LLaVA. The
/// text's positions are its own; rotary ones count the sequence's tokens. Returns that slot.
Slot append_text_prefix(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& prefix, const Slot& text);

/// "<name>.part": from the slot `sequence` that append_text_prefix made to the slot `text`, which is its end.
void append_text_of(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& sequence, const Slot& text);

/// "<name>.output": the stack's last norm, if there is one, and scores of every token at every position: from the slot
/// `name` to "logits" [T, V].
///   is_tied   the scores' matrix is that of "<name>.embed"; else one of their own
void append_token_logits(std::vector<BlockSpec>& blocks, const std::string& name, const TextStackConfig& config,
                         bool is_tied);

/// "<name>.pooler": BERT's pooled output (Devlin et al. 2019): the stack's last norm, if there is one, its first token,
/// a product, tanh: from the slot `name` to "<name>_pooled" [H], for heads that see a text as one vector.
void append_text_pooler(std::vector<BlockSpec>& blocks, const std::string& name, const TextStackConfig& config);

}  // namespace triptych::models
