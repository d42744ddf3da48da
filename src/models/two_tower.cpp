#include "models/two_tower.h"

#include "ops/pooling.h"

namespace triptych::models {
namespace {

template <typename Pool>
BlockSpec embedding_head(const std::string& tower, const std::string& slot, int64_t width,
                         const std::optional<NormConfig>& norm, int64_t embedding, Projection projection,
                         std::vector<std::string> fields, const Pool& pool) {
  const std::string name = tower + ".head";
  const double flops = projection == Projection::kNone ? 0 : ProjectionHead::forward_flops(width, embedding);
  const auto forward = [pool](const ProjectionHead& head, std::span<const Variable> inputs, const Fields& data,
                              const Pass& pass) {
    return l2_normalize(head.forward(pool(inputs[0], data, pass), pass));
  };
  return {.name = name,
          .reads = {slot},
          .fields = std::move(fields),
          .writes = {{.name = tower + "_embedding", .dims = {embedding}, .place = "batch", .dtype = DType::kFloat32}},
          .forward_flops = flops,
          .backward_flops = 2 * flops,
          .make = [=](ParameterStore& store) {
            return make_block(ProjectionHead(store, name, width, embedding, norm, projection), forward);
          }};
}

}  // namespace

void append_image_embedding(std::vector<BlockSpec>& blocks, const ImageEncoderConfig& image, int64_t embedding,
                            Projection projection) {
  const auto pool = [pooling = image.pooling](const Variable& x, const Fields&, const Pass& pass) {
    return pool_image(x, pooling, pass);
  };
  const PooledImage pooled = append_image_pool(blocks, image);
  blocks.push_back(
      embedding_head("image", pooled.slot, image.sizes.width, pooled.norm, embedding, projection, {}, pool));
}

void append_text_embedding(std::vector<BlockSpec>& blocks, const TextStackConfig& text, int64_t embedding,
                           Projection projection) {
  // The end token is a caption's last, or a pad where padding is a part of the text.
  const auto pool = [lengths = text.lengths(), last = static_cast<int32_t>(text.length - 1)](
                        const Variable& x, const Fields& data, const Pass& pass) {
    const Variable whole = pass.laid_out(x, "batch");
    return lengths.empty() ? select_token(whole, Tensor(), last) : select_token(whole, data[lengths], -1);
  };
  std::vector<std::string> fields;
  if (!text.lengths().empty()) fields.push_back(text.lengths());
  blocks.push_back(embedding_head("text", "text", text.sizes.width, text.sizes.last_norm(), embedding, projection,
                                  std::move(fields), pool));
}

ModelSpec two_tower(const TwoTowerConfig& config) {
  ModelSpec model;
  append_image_encoder(model.blocks, config.image);
  append_image_embedding(model.blocks, config.image, config.embedding, config.image_projection);
  append_token_embedding(model.blocks, "text", config.text, false);
  append_stack(model.blocks, "text", model.blocks.back().writes[0], config.text.sizes,
               {.causal = config.text.causal, .dropout = config.text.dropout, .lengths = config.text.lengths()});
  append_text_embedding(model.blocks, config.text, config.embedding, config.text_projection);
  model.fingerprint = fmt::format("two_tower embedding={} image({}) text({})", config.embedding,
                                  config.image.to_string(), config.text.to_string());
  if (config.image_projection == Projection::kNone) model.fingerprint += " image_projection=none";
  if (config.text_projection == Projection::kBiasedProduct) model.fingerprint += " text_projection=biased";
  return model;
}

}  // namespace triptych::models
