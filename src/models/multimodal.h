#pragma once

#include "models/connector.h"
#include "models/fusion.h"
#include "models/image_encoder.h"
#include "models/text_stack.h"

namespace triptych::models {

/// An image encoder and a bidirectional text encoder, a connector behind the image's, and a fusion of both.
struct MultimodalConfig {
  ImageEncoderConfig image;  ///< without a class token
  TextStackConfig text;      ///< not causal: its first token stands for it
  ConnectorConfig connector;
  FusionConfig fusion;

  /// "fusion(...) connector(...) image(...) text(...)", for fingerprints.
  std::string to_string() const;
};

/// The slots of both, whole and normed: "image_features" [P, Hi], "text_features" [T, Ht].
struct EncodedPair {
  Slot image, text;
};

/// Both encoders.
///   is_tied   a later block scores tokens with the token embedding's matrix
EncodedPair append_encoders(std::vector<BlockSpec>& blocks, const MultimodalConfig& config, bool is_tied);

/// From the fields "pixels", "tokens", "lengths", "image_present" and "text_present" to the slot "fused" [H]; a sample
/// may lack its image or its text: see append_fusion.
void append_multimodal(std::vector<BlockSpec>& blocks, const MultimodalConfig& config);

struct AnswererConfig {
  MultimodalConfig parts;
  int64_t num_answers = 10;
};

/// Question answering as classification (Antol et al. 2015, VQA): "answer.head", a product with a bias, from "fused" to
/// "logits", float32 [C]: scores of the answers that there are.
ModelSpec answerer(const AnswererConfig& config);

}  // namespace triptych::models
