#pragma once

#include "models/image_encoder.h"

namespace triptych::models {

/// He et al. 2022, masked autoencoders: an encoder of the visible patches alone, and a light decoder of all patches, in
/// which a learned token stands for every masked one.
struct MaskedImageConfig {
  ImageEncoderConfig image;  ///< `visible` of its patches are seen; its class token is decoded with them
  TransformerSizes decoder{.width = 128, .layers = 2, .heads = 4, .feed_forward = 512};
};

/// The blocks "image.embed" and "image.blocks.i" with the parameters of every image encoder; "image.norm"; and
/// "decoder.embed", "decoder.blocks.i", "decoder.output", which end with the slot "reconstruction", float32
/// [P, 3 patch patch], place "batch": the values of every patch as `patch_targets` has them.
///
/// Reads the fields "pixels", "visible_patches" and "patch_sources" (data/field_sources.h).
ModelSpec masked_image(const MaskedImageConfig& config);

/// What a reconstruction is compared with, float32 [B, M, 3 patch patch]: the pixels of the masked patches as the
/// encoder sees pixels; zeros where masked_patches is negative.
///
///   pixels           uint8 [B, size, size, 3]
///   masked_patches   int32 [B, M]
///   normalize        of each patch: less its mean, over the root of (its variance, with N - 1 of its N values, + 1e-6)
///   pixel_scale      as the encoder's
///   factor           of all values
Variable patch_targets(const Tensor& pixels, const Variable& masked_patches, int64_t patch,
                       const PixelScale& pixel_scale, bool normalize, float factor, const Pass& pass);

}  // namespace triptych::models
