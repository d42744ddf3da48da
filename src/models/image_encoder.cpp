#include "models/image_encoder.h"

#include <fmt/ranges.h>

#include "nn/attention_pool.h"
#include "ops/pooling.h"

namespace triptych::models {
namespace {

Slot image_slot(const ImageEncoderConfig& config) {
  return {.name = "image", .dims = {config.sequence(), config.sizes.width}};
}

std::string_view pooling_name(ImageEncoderConfig::Pooling pooling) {
  switch (pooling) {
    case ImageEncoderConfig::Pooling::kMean:
      return "mean";
    case ImageEncoderConfig::Pooling::kAttention:
      return "attention";
    case ImageEncoderConfig::Pooling::kClassToken:
      break;
  }
  return "class";
}

}  // namespace

std::string ImageEncoderConfig::to_string() const {
  std::string text =
      fmt::format("size={} patch={} {} pooling={}", size, patch, sizes.to_string(), pooling_name(pooling));
  if (!(scale == PixelScale())) {
    text += fmt::format(" pixel_mean={} pixel_std={}", fmt::join(scale.mean, ","), fmt::join(scale.std, ","));
  }
  if (!patch_bias) text += " patch_bias=false";
  return text;
}

void append_image_encoder(std::vector<BlockSpec>& blocks, const ImageEncoderConfig& config) {
  const PatchEmbedding::Config embedding = config.embedding();
  std::vector<std::string> read{"pixels"};
  if (config.visible > 0) read.emplace_back("visible_patches");
  const auto embed = [chooses = config.visible > 0](const PatchEmbedding& patches, std::span<const Variable>,
                                                    const Fields& fields, const Pass& pass) {
    return chooses ? patches.forward_visible(fields["pixels"], fields["visible_patches"], pass)
                   : patches.forward(fields["pixels"], pass);
  };
  blocks.push_back(
      {.name = "image.embed",
       .fields = read,
       .writes = {image_slot(config)},
       .forward_flops = embedding.forward_flops(),
       .backward_flops = embedding.forward_flops(),
       .num_inputs = [=](const std::string&) { return embedding.num_embedded(); },
       .make =
           [=](ParameterStore& store) { return make_block(PatchEmbedding(store, "image.embed", embedding), embed); }});
  append_stack(blocks, "image", image_slot(config), config.sizes,
               {.dropout = config.dropout, .grid_side = embedding.grid().side});
}

void append_image_memory(std::vector<BlockSpec>& blocks, const ImageEncoderConfig& config, const std::string& memory) {
  append_memory(blocks, "image.norm", image_slot(config), memory, config.sizes);
}

PooledImage append_image_pool(std::vector<BlockSpec>& blocks, const ImageEncoderConfig& config) {
  const TransformerSizes& sizes = config.sizes;
  if (config.pooling != ImageEncoderConfig::Pooling::kAttention) return {.slot = "image", .norm = sizes.last_norm()};
  const AttentionPoolHead::Config pool{.width = sizes.width,
                                       .num_heads = sizes.heads,
                                       .feed_forward = sizes.feed_forward,
                                       .activation = sizes.activation,
                                       .input_norm = sizes.last_norm(),
                                       .norm = sizes.norm,
                                       .biases = sizes.biases};
  const double flops = AttentionPoolHead::forward_flops(pool, config.sequence());
  const std::string slot(kPooledImage);
  const auto forward = [](const AttentionPoolHead& head, std::span<const Variable> inputs, const Fields&,
                          const Pass& pass) { return head.forward(pass.laid_out(inputs[0], "batch"), pass); };
  blocks.push_back({.name = "image.pool",
                    .reads = {"image"},
                    .writes = {{.name = slot, .dims = {sizes.width}, .place = "batch"}},
                    .forward_flops = flops,
                    .backward_flops = 2 * flops,
                    .num_inputs = inputs_of_attention(1, config.sequence()),
                    .make = [=](ParameterStore& store) {
                      return make_block(AttentionPoolHead(store, "image.pool", pool), forward);
                    }});
  return {.slot = slot, .norm = std::nullopt};
}

Variable pool_image(const Variable& x, ImageEncoderConfig::Pooling pooling, const Pass& pass) {
  const Variable whole = pass.laid_out(x, "batch");
  switch (pooling) {
    case ImageEncoderConfig::Pooling::kMean:
      return mean_tokens(whole);
    case ImageEncoderConfig::Pooling::kClassToken:
      return select_token(whole, Tensor());
    case ImageEncoderConfig::Pooling::kAttention:
      break;
  }
  return whole;
}

}  // namespace triptych::models
