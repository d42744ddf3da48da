#pragma once

#include <string>
#include <string_view>

#include "models/connector.h"
#include "models/image_encoder.h"
#include "models/text_stack.h"

namespace triptych::models {

/// How a language model sees a picture.
enum class PictureWay {
  kNone,                 ///< it does not: texts alone
  kPrefix,               ///< as tokens in front of the text (Liu et al. 2023, LLaVA; Li et al. 2023, BLIP-2)
  kGatedCrossAttention,  ///< by gated layers between its blocks (Alayrac et al. 2022, Flamingo)
};
/// "none", "prefix", "gated_cross_attention".
std::string_view picture_way_name(PictureWay way);

/// A causal decoder (Radford et al. 2019, GPT-2; Touvron et al. 2023, Llama), with or without a picture that its text
/// goes on from.
struct LanguageConfig {
  TextStackConfig text;
  bool tied_output = true;  ///< scores come from the token embedding's matrix
  PictureWay way = PictureWay::kNone;
  // Where it sees pictures:
  ImageEncoderConfig image;
  ConnectorConfig connector;  ///< brings a prefix to the text's width; may stand before gated layers
  int64_t gated_every = 1;    ///< a gated layer in front of every so many blocks
  float initial_gate = 0;

  /// For fingerprints.
  std::string to_string() const;
};

inline constexpr const char* kTargetScores = "target_scores";
/// The slot that decoding computes once and keeps: what stands in front of the text, or is attended to.
inline constexpr const char* kPictureSlot = kConnectedSlot;

/// Ends with the slots "logits" [T, V], the scores of the token after each, and kTargetScores, float32 [T, 3]: what
/// ops/cross_entropy.h says of the field "targets", for those who ask for it.
///
/// Parameters "text.*" are the same, by name and shape, whatever way pictures come in; the others are "image.*",
/// "connector.*" and "gated.blocks.k...". So a language model's checkpoint is a part of each, and with "text.*" frozen
/// only what was added is trained. A model with gated layers whose gates begin at 0 is at first the language model, bit
/// by bit.
ModelSpec language_model(const LanguageConfig& config);

}  // namespace triptych::models
