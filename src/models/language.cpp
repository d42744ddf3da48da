#include "models/language.h"

#include "ops/cross_entropy.h"

namespace triptych::models {
namespace {

// The picture as the decoder's blocks see it, in the slot kPictureSlot.
Slot append_picture(std::vector<BlockSpec>& blocks, const LanguageConfig& config) {
  const bool is_connected = config.connector.kind != ConnectorKind::kNone;
  append_image_encoder(blocks, config.image);
  append_image_memory(blocks, config.image, is_connected ? "image_features" : kPictureSlot);
  const Slot features = blocks.back().writes[0];
  return append_connector(blocks, features, config.connector, config.text.sizes, config.text.dropout);
}

// Blocks "text.blocks.i" over `stream`; where there are gated layers, "gated.blocks.k" in front of every k-th few.
void append_decoder(std::vector<BlockSpec>& blocks, const LanguageConfig& config, const Slot& stream,
                    const Slot& picture) {
  const TransformerSizes& sizes = config.text.sizes;
  TransformerSizes gated = sizes;
  gated.layers = (sizes.layers + config.gated_every - 1) / config.gated_every;
  gated.post_norm = false;
  gated.drop_path = 0;
  for (int64_t i = 0; i < sizes.layers; ++i) {
    if (config.way == PictureWay::kGatedCrossAttention && i % config.gated_every == 0) {
      append_block(blocks, "gated", i / config.gated_every, stream, gated,
                   {.dropout = config.text.dropout,
                    .memory = picture.name,
                    .memory_width = picture.dims[1],
                    .memory_sequence = picture.dims[0],
                    .self_attention = false,
                    .initial_gate = config.initial_gate});
    }
    append_block(blocks, "text", i, stream, sizes, {.causal = true, .dropout = config.text.dropout});
  }
}

// "text.scores": without parameters.
void append_target_scores(std::vector<BlockSpec>& blocks, const TextStackConfig& text) {
  struct Nothing {};
  const auto forward = [](const Nothing&, std::span<const Variable> inputs, const Fields& fields, const Pass& pass) {
    const Variable targets = pass.rows_of(inputs[0], fields["targets"]);
    return pass.laid_out(target_scores(inputs[0], targets.tensor(), pass.mesh), "batch");
  };
  blocks.push_back(
      {.name = "text.scores",
       .reads = {"logits"},
       .fields = {"targets"},
       .writes = {{.name = kTargetScores, .dims = {text.length, 3}, .place = "batch", .dtype = DType::kFloat32}},
       .make = [forward](ParameterStore&) { return make_block(Nothing{}, forward); }});
}

}  // namespace

std::string_view picture_way_name(PictureWay way) {
  switch (way) {
    case PictureWay::kNone:
      return "none";
    case PictureWay::kPrefix:
      return "prefix";
    case PictureWay::kGatedCrossAttention:
      return "gated_cross_attention";
  }
  throw InternalError("language", "no such way");
}

std::string LanguageConfig::to_string() const {
  std::string all = fmt::format("language tied_output={} text({})", tied_output, text.to_string());
  if (way == PictureWay::kNone) return all;
  all += fmt::format(" picture={} connector({}) image({})", picture_way_name(way), connector.to_string(),
                     image.to_string());
  if (way == PictureWay::kGatedCrossAttention) all += fmt::format(" gated_every={}", gated_every);
  return all;
}

ModelSpec language_model(const LanguageConfig& config) {
  ModelSpec model;
  std::vector<BlockSpec>& blocks = model.blocks;
  const Slot picture = config.way == PictureWay::kNone ? Slot() : append_picture(blocks, config);
  append_token_embedding(blocks, "text", config.text, config.tied_output);
  const Slot text = blocks.back().writes[0];
  if (config.way == PictureWay::kPrefix) {
    const Slot sequence = append_text_prefix(blocks, "text", picture, text);
    append_decoder(blocks, config, sequence, picture);
    append_text_of(blocks, "text", sequence, text);
  } else {
    append_decoder(blocks, config, text, picture);
  }
  append_token_logits(blocks, "text", config.text, config.tied_output);
  append_target_scores(blocks, config.text);
  model.fingerprint = config.to_string();
  return model;
}

}  // namespace triptych::models
