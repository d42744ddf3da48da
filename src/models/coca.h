#pragma once

#include "models/image_encoder.h"
#include "models/text_stack.h"

namespace triptych::models {

/// Yu et al. 2022, CoCa: an image encoder with attentional pooling, and a causal text decoder in two halves, the first
/// without cross-attention.
struct CocaConfig {
  ImageEncoderConfig image;  ///< without a class token: the poolers' queries take its part
  TextStackConfig text;      ///< its layers are the unimodal ones
  int64_t multimodal_layers = 3;
  int64_t pool_queries = 16;  ///< of the image as the decoder sees it
  int64_t embedding = 256;    ///< E, the space in which images and texts meet
};

/// Ends with "image_embedding" and "text_embedding", float32 [E] of unit length, and "logits" [T, V].
///
/// The image's embedding is one more query over the image's sequence, beside the decoder's; the text's is its end token
/// after the unimodal layers. (The paper pools a second time, over what the decoder sees.) The logits have a matrix of
/// their own. With the paper's pooling, or logits tied to the token embedding, configs/emoji_coca.toml found unseen
/// concepts less well; why is not shown.
ModelSpec coca(const CocaConfig& config);

}  // namespace triptych::models
