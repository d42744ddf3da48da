#pragma once

#include "models/image_encoder.h"
#include "models/text_stack.h"

namespace triptych::models {

struct TwoTowerConfig {
  ImageEncoderConfig image;
  TextStackConfig text;
  int64_t embedding = 256;  ///< E, the shared space
  Projection image_projection = Projection::kProduct, text_projection = Projection::kProduct;
};

/// "image.head": pooling, norm, projection to E, unit length: from the slot "image" to "image_embedding", float32 [E].
/// Attentional pooling is a block before it (append_image_pool).
void append_image_embedding(std::vector<BlockSpec>& blocks, const ImageEncoderConfig& image, int64_t embedding,
                            Projection projection = Projection::kProduct);
/// "text.head": the same of a text's last token, from the slot "text" to "text_embedding", float32 [E].
void append_text_embedding(std::vector<BlockSpec>& blocks, const TextStackConfig& text, int64_t embedding,
                           Projection projection = Projection::kProduct);

/// Radford et al. 2021, CLIP: both towers in one list of blocks, ending with the slots "image_embedding" and
/// "text_embedding", float32 [B, E] of unit length.
ModelSpec two_tower(const TwoTowerConfig& config);

}  // namespace triptych::models
