#pragma once

#include "models/image_encoder.h"

namespace triptych::models {

struct ClassifierConfig {
  ImageEncoderConfig image;
  int64_t num_classes = 10;
};

/// Dosovitskiy et al. 2021, ViT: an image encoder and "classify.head" (pooling, norm, a product with a bias;
/// attentional pooling is a block before it, append_image_pool), ending with the slot "logits", float32 [C].
ModelSpec classifier(const ClassifierConfig& config);

}  // namespace triptych::models
