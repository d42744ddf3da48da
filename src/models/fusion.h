#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "models/parts.h"

namespace triptych::models {

/// How the features of an image and of a text become one vector.
enum class FusionKind {
  kConcatenation,   ///< both in one sequence, with modality embeddings, and blocks over it
  kGated,           ///< both pooled; learned gates mix them feature by feature (Arevalo et al. 2017, GMU)
  kCrossAttention,  ///< each stream attends to the other, or the text to the image
};
inline constexpr FusionKind kFusionKinds[] = {FusionKind::kConcatenation, FusionKind::kGated,
                                              FusionKind::kCrossAttention};
/// "concatenation", "gated", "cross_attention".
std::string_view fusion_name(FusionKind kind);

struct FusionConfig {
  FusionKind kind = FusionKind::kConcatenation;
  TransformerSizes sizes;  ///< of the blocks; a gated fusion has none, and of these the width alone
  bool both_ways = true;   ///< of cross-attention: the image attends to the text too
  float dropout = 0;

  /// "cross_attention both_ways=true width=256 ...", for fingerprints.
  std::string to_string() const;
};

/// Blocks "fusion...", from the slots `image` [P, Hi] and `text` [T, Ht], whole and normed, to "fused" [H], and of a
/// gated one also "gate" [H].
///
///   concatenation    the image's tokens, then the text's, whose padding is masked (field "lengths"); a stack of
///                    blocks; the text's first token
///   gated            h_i = tanh(W_i i + b_i) of the mean of the image's tokens, h_t = tanh(W_t t + b_t) of the text's
///                    first, gate = sigmoid(W [i, t] + b); fused = gate h_i + (1 - gate) h_t. (The paper has no
///                    biases.)
///   cross_attention  in each layer the text attends to itself and to the image, then the image to itself and to the
///                    text as it is by then, padding masked (Lu et al. 2019, ViLBERT; Tan and Bansal 2019, LXMERT,
///                    whose streams move at once); the text's first token and the mean of the image's. One way: the
///                    image stays as it came, and the text's first token is all (Li et al. 2021, ALBEF)
///
/// But for the gated one what is said to be taken goes through a product and tanh, BERT's pooler. A modality of another
/// width than H is projected first.
///
/// A sample without its image (field "image_present") has, instead of each of the image's tokens, one learned vector,
/// "fusion.image.absent"; without its text ("text_present") the same, "fusion.text.absent". It is chosen row by row, so
/// the work and the order of collectives are those of any other sample, and what is in an absent row changes nothing.
void append_fusion(std::vector<BlockSpec>& blocks, const Slot& image, const Slot& text, const FusionConfig& config);

/// What such a fusion makes of the text's tokens, before the stack's last norm; returns the slot, [T, H]. A gated
/// fusion has none: InternalError.
Slot append_fused_tokens(std::vector<BlockSpec>& blocks, const Slot& image, const Slot& text,
                         const FusionConfig& config);

}  // namespace triptych::models
