#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/parts.h"
#include "nn/embeddings.h"

namespace triptych::models {

inline constexpr std::string_view kPooledImage = "image_pooled";  ///< a slot: the state that attention pools

/// Vision Transformer (Dosovitskiy et al. 2021): patch embedding, positions, blocks.
struct ImageEncoderConfig {
  enum class Pooling {
    kClassToken,
    kMean,
    kAttention,  ///< AttentionPoolHead, with the sizes and kinds of the blocks
  };
  int64_t size = 64;  ///< pixels a side
  int64_t patch = 8;
  TransformerSizes sizes;
  Pooling pooling = Pooling::kClassToken;
  float dropout = 0;
  int64_t visible = 0;  ///< patches that it sees of each image, those of the field "visible_patches"; 0: all
  PixelScale scale;
  bool patch_bias = true;  ///< of the patches' product: CLIP's has none

  PatchEmbedding::Config embedding() const {
    return {.size = size,
            .patch = patch,
            .width = sizes.width,
            .class_token = pooling == Pooling::kClassToken,
            .positions = sizes.positions,
            .norm = sizes.first_norm(),
            .visible = visible,
            .scale = scale,
            .bias = patch_bias};
  }
  int64_t sequence() const { return embedding().sequence(); }
  /// "size=64 patch=8 width=256 layers=6 heads=4 feed_forward=1024 pooling=class", for fingerprints.
  std::string to_string() const;
};

/// "image.embed" and "image.blocks.i", from the field "pixels" to the slot "image" [S, H]. Parameters do not
/// depend on how many patches are visible.
void append_image_encoder(std::vector<BlockSpec>& blocks, const ImageEncoderConfig& config);

/// "image.norm": the stack's last norm, if there is one, from the slot "image" to `memory` [S, H], whole: what a
/// decoder attends to.
void append_image_memory(std::vector<BlockSpec>& blocks, const ImageEncoderConfig& config, const std::string& memory);

/// The whole image's state, for the head that reads it.
struct PooledImage {
  std::string slot;                ///< what the head reads, and pool_image makes [B, H] of
  std::optional<NormConfig> norm;  ///< of that state, which the head begins with
};
/// With attentional pooling "image.pool", from the slot "image" to "image_pooled" [H]; else no block: the head pools.
PooledImage append_image_pool(std::vector<BlockSpec>& blocks, const ImageEncoderConfig& config);

/// x, the slot that append_image_pool names; returns the image's state [B, H], whole.
Variable pool_image(const Variable& x, ImageEncoderConfig::Pooling pooling, const Pass& pass);

}  // namespace triptych::models
