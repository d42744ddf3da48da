#pragma once

#include "models/image_encoder.h"
#include "models/text_stack.h"

namespace triptych::models {

/// An encoder-decoder (Vaswani et al. 2017): an image encoder, and a causal text decoder whose blocks attend to the
/// encoder's sequence.
struct CaptionerConfig {
  ImageEncoderConfig image;
  TextStackConfig text;
};

/// Ends with the slot "logits" [T, V]: the scores of the token after each; the embedding's matrix gives them.
ModelSpec captioner(const CaptionerConfig& config);

}  // namespace triptych::models
