#pragma once

#include "models/image_encoder.h"

namespace triptych::models {

/// Carion et al. 2020, DETR, on a Vision Transformer: a decoder of queries, each of which attends to the others and to
/// the image, and finds one object or nothing.
struct DetectorConfig {
  /// What enters the decoder.
  enum class Queries {
    kLearned,  ///< the same vectors for every image, and a learned place of each
    kPatches,  ///< what the encoder made of each patch, and where that is (Zhu et al. 2021, two-stage Deformable DETR)
  };
  ImageEncoderConfig image;
  TransformerSizes decoder{
      .width = 256, .layers = 3, .heads = 4, .feed_forward = 1024, .positions = PositionKind::kNone};
  Queries queries = Queries::kLearned;
  int64_t num_queries =
      20;  ///< Q: objects that an image can have found, at most; the image's patches, where these are it
  int64_t num_classes = 80;  ///< C
};

/// The blocks of the image encoder with the parameters of every other; "image.norm"; "decoder.embed", which makes every
/// image's queries; "decoder.blocks.i"; and "detect.head", which ends with the slots, float32,
///
///   "class_logits" [Q, C + 1]   the last class is "nothing"
///   "boxes" [Q, 4]              center x, center y, width, height, as shares of the image's sides
///
/// Unlike DETR's, queries are what enters the first block, not added anew in each, and every query has a place of its
/// own from which its box is told (Zhu et al. 2021, Deformable DETR, its reference points); so they look in different
/// places from the beginning. There are no losses between the decoder's blocks.
ModelSpec detector(const DetectorConfig& config);

}  // namespace triptych::models
