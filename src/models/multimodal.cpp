#include "models/multimodal.h"

namespace triptych::models {

std::string MultimodalConfig::to_string() const {
  return fmt::format("fusion({}) connector({}) image({}) text({})", fusion.to_string(), connector.to_string(),
                     image.to_string(), text.to_string());
}

EncodedPair append_encoders(std::vector<BlockSpec>& blocks, const MultimodalConfig& config, bool is_tied) {
  EncodedPair encoded;
  append_image_encoder(blocks, config.image);
  append_image_memory(blocks, config.image, "image_features");
  encoded.image = blocks.back().writes[0];
  append_token_embedding(blocks, "text", config.text, is_tied);
  const Slot text_stream = blocks.back().writes[0];
  append_stack(blocks, "text", text_stream, config.text.sizes,
               {.causal = config.text.causal, .dropout = config.text.dropout, .lengths = "lengths"});
  append_memory(blocks, "text.norm", text_stream, "text_features", config.text.sizes);
  encoded.text = blocks.back().writes[0];
  return encoded;
}

void append_multimodal(std::vector<BlockSpec>& blocks, const MultimodalConfig& config) {
  const EncodedPair encoded = append_encoders(blocks, config, false);
  const Slot image =
      append_connector(blocks, encoded.image, config.connector, config.fusion.sizes, config.fusion.dropout);
  append_fusion(blocks, image, encoded.text, config.fusion);
}

ModelSpec answerer(const AnswererConfig& config) {
  ModelSpec model;
  append_multimodal(model.blocks, config.parts);
  append_product(model.blocks, "answer.head", {.name = "fused", .dims = {config.parts.fusion.sizes.width}},
                 {.name = "logits", .dims = {config.num_answers}, .place = "batch", .dtype = DType::kFloat32});
  model.fingerprint = fmt::format("answerer answers={} {}", config.num_answers, config.parts.to_string());
  return model;
}

}  // namespace triptych::models
