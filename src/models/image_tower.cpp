#include "models/image_tower.h"

#include <cmath>
#include <memory>

#include "kernels/patchify.h"
#include "models/tower_parts.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/pooling.h"
#include "ops/redistribute.h"

namespace triptych {
namespace {

// Of the images that CLIP was trained on; what matters is that the network's input is near zero mean, unit variance.
constexpr std::array<float, 3> kPixelMean{0.48145466f, 0.4578275f, 0.40821073f};
constexpr std::array<float, 3> kPixelStd{0.26862954f, 0.26130258f, 0.27577711f};

class PatchEmbedding : public Block {
 public:
  PatchEmbedding(ParameterStore& store, const ImageTowerConfig& config, bool sequence_parallel) : config_(config) {
    const int64_t inputs = 3 * config.patch * config.patch;
    weight_ = &store.create(
        "image.embed.patch.weight", Shape{config.width, inputs},
        {.standard_deviation = 1 / std::sqrt(static_cast<float>(inputs)), .decay = true, .in_compute_dtype = true});
    bias_ = &store.create("image.embed.patch.bias", Shape{config.width}, {});
    if (config.pooling == ImageTowerConfig::Pooling::kClassToken) {
      class_token_ =
          &store.create("image.embed.class_token", Shape{config.width}, {.standard_deviation = 0.02f, .decay = true});
    }
    positions_ = &store.create("image.embed.positions", Shape{config.sequence(), config.width},
                               positions_spec(sequence_parallel));
  }

  Variable forward(const Variable&, const Fields& data, const Pass& pass) const override {
    const int64_t inputs = 3 * config_.patch * config_.patch;
    const Tensor patches =
        Tensor::empty(pass.device, pass.dtype, Shape{data.num_samples(), config_.num_patches(), inputs});
    patchify(pass.device.stream(), {.pixels = data["pixels"].data<uint8_t>(),
                                    .patches = patches.raw(),
                                    .batch = data.num_samples(),
                                    .image_size = config_.size,
                                    .patch_size = config_.patch,
                                    .mean = kPixelMean,
                                    .std = kPixelStd,
                                    .dtype = pass.dtype});
    const Shape global{data.num_samples() * pass.mesh.size(Axis::kDp), config_.num_patches(), inputs};
    Variable x =
        linear(Variable::constant(patches, global, pass.whole()), pass.use(*weight_), pass.use(*bias_), pass.dtype);
    if (class_token_ != nullptr) x = prepend_token(x, pass.use(*class_token_));
    x = redistribute(x, pass.between_blocks(), pass.mesh);
    return add_positions(x, pass.use(*positions_), pass.mesh);
  }

 private:
  ImageTowerConfig config_;
  Parameter* weight_ = nullptr;
  Parameter* bias_ = nullptr;
  Parameter* class_token_ = nullptr;
  Parameter* positions_ = nullptr;
};

class ImageHead : public Block {
 public:
  ImageHead(ParameterStore& store, const TwoTowerConfig& config)
      : pooling_(config.image.pooling), head_(store, "image.head", config.image.width, config.embedding) {}

  Variable forward(const Variable& x, const Fields&, const Pass& pass) const override {
    const Variable whole = redistribute(x, pass.whole(), pass.mesh);
    if (pooling_ == ImageTowerConfig::Pooling::kMean) return head_.forward(mean_tokens(whole), pass);
    return head_.forward(select_token(whole, Tensor()), pass);
  }

 private:
  ImageTowerConfig::Pooling pooling_;
  ProjectionHead head_;
};

}  // namespace

void append_image_tower(std::vector<BlockSpec>& blocks, const TwoTowerConfig& config, bool sequence_parallel) {
  const ImageTowerConfig& image = config.image;
  const Slot tokens{"image", {image.sequence(), image.width}, true};
  const double patch_flops =
      2.0 * 3 * static_cast<double>(image.patch * image.patch * image.width * image.num_patches());
  blocks.push_back({.name = "image.embed",
                    .writes = tokens,
                    .fields = {"pixels"},
                    .forward_flops = patch_flops,
                    .backward_flops = patch_flops,  // pixels have no gradient
                    .make = [=](ParameterStore& store) {
                      return std::make_unique<PatchEmbedding>(store, image, sequence_parallel);
                    }});
  for (int64_t i = 0; i < image.layers; ++i) {
    const TransformerBlockConfig block{.width = image.width,
                                       .num_heads = image.heads,
                                       .feed_forward = image.feed_forward,
                                       .dropout = config.dropout,
                                       .depth = image.layers};
    blocks.push_back(
        transformer_block_spec(fmt::format("image.blocks.{}", i), tokens, block, sequence_parallel, false));
  }
  const double head_flops = 2.0 * static_cast<double>(image.width * config.embedding);
  blocks.push_back({.name = "image.head",
                    .reads = "image",
                    .writes = {"image_embedding", {config.embedding}, false},
                    .forward_flops = head_flops,
                    .backward_flops = 2 * head_flops,
                    .make = [=](ParameterStore& store) { return std::make_unique<ImageHead>(store, config); }});
}

}  // namespace triptych
