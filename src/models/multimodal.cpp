#include "models/multimodal.h"

#include "ops/linear.h"

namespace triptych::models {
namespace {

struct AnswerHead {
  Parameter *weight, *bias;
};

}  // namespace

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
  const int64_t width = config.parts.fusion.sizes.width, num_answers = config.num_answers;
  const double flops = ProjectionHead::forward_flops(width, num_answers);
  const auto forward = [](const AnswerHead& head, std::span<const Variable> inputs, const Fields&, const Pass& pass) {
    return linear(inputs[0], pass.use(*head.weight), pass.use(*head.bias), DType::kFloat32);
  };
  model.blocks.push_back(
      {.name = "answer.head",
       .reads = {"fused"},
       .writes = {{.name = "logits", .dims = {num_answers}, .place = "batch", .dtype = DType::kFloat32}},
       .forward_flops = flops,
       .backward_flops = 2 * flops,
       .make = [=](ParameterStore& store) {
         return make_block(AnswerHead{&store.create("answer.head.weight", Shape{num_answers, width}, "replicated",
                                                    linear_matrix(width)),
                                      &store.create("answer.head.bias", Shape{num_answers}, "replicated", {})},
                           forward);
       }});
  model.fingerprint = fmt::format("answerer answers={} {}", num_answers, config.parts.to_string());
  return model;
}

}  // namespace triptych::models
