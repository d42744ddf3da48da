#include "models/image_encoder.h"

#include "ops/pooling.h"

namespace triptych::models {
namespace {

Slot image_slot(const ImageEncoderConfig& config) {
  return {.name = "image", .dims = {config.sequence(), config.sizes.width}};
}

}  // namespace

std::string ImageEncoderConfig::to_string() const {
  return fmt::format("size={} patch={} {} pooling={}", size, patch, sizes.to_string(),
                     pooling == Pooling::kMean ? "mean" : "class");
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
  blocks.push_back({.name = "image.embed",
                    .fields = read,
                    .writes = {image_slot(config)},
                    .forward_flops = embedding.forward_flops(),
                    .backward_flops = embedding.forward_flops(),
                    .make = [=](ParameterStore& store) {
                      return make_block(PatchEmbedding(store, "image.embed", embedding), embed);
                    }});
  append_stack(blocks, "image", image_slot(config), config.sizes,
               {.dropout = config.dropout, .grid_side = embedding.grid().side});
}

void append_image_memory(std::vector<BlockSpec>& blocks, const ImageEncoderConfig& config, const std::string& memory) {
  const auto forward = [](const OptionalNorm& norm, std::span<const Variable> inputs, const Fields&, const Pass& pass) {
    return pass.laid_out(norm.forward(inputs[0], pass), "batch");
  };
  blocks.push_back({.name = "image.norm",
                    .reads = {"image"},
                    .writes = {{.name = memory, .dims = image_slot(config).dims, .place = "batch"}},
                    .make = [=, sizes = config.sizes](ParameterStore& store) {
                      return make_block(OptionalNorm(store, "image.norm", sizes.width, sizes.last_norm()), forward);
                    }});
}

Variable pool_image(const Variable& x, ImageEncoderConfig::Pooling pooling, const Pass& pass) {
  const Variable whole = pass.laid_out(x, "batch");
  return pooling == ImageEncoderConfig::Pooling::kMean ? mean_tokens(whole) : select_token(whole, Tensor());
}

}  // namespace triptych::models
