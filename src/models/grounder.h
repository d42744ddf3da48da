#pragma once

#include "models/image_encoder.h"
#include "models/text_stack.h"

namespace triptych::models {

/// Where in an image is what a phrase names? An image encoder, and a bidirectional text stack whose blocks attend to
/// it: the phrase's tokens are the queries of a decoder as in DETR (Carion et al. 2020) and MDETR (Kamath et al. 2021),
/// and the first of them, which stands for the whole phrase, has the one box. Where that is, is told from the patches
/// that it points to: the mean of their places, weighted by one more attention (a pointer, Vinyals et al. 2015,
/// section 2.3).
struct GrounderConfig {
  ImageEncoderConfig image;
  TextStackConfig text{.length = 16, .causal = false};
};

/// The blocks of the image encoder; "image.norm"; "text.embed" and "text.blocks.i", which attend to the slot "memory";
/// and "ground.head", which ends with the slot "box", float32 [4]: center x, center y, width, height, as shares of the
/// image's sides.
///
/// Reads the fields "pixels", "tokens" and "lengths".
ModelSpec grounder(const GrounderConfig& config);

}  // namespace triptych::models
