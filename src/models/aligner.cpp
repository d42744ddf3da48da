#include "models/aligner.h"

#include "base/error.h"
#include "kernels/matching.h"
#include "models/masked_text.h"
#include "models/two_tower.h"
#include "ops/take_rows.h"

namespace triptych::models {
namespace {

const std::vector<std::string> kPresence{"image_present", "text_present", "matched"};

MatchedRows matched_rows(const Fields& fields, int64_t group) {
  return {.image_present = fields["image_present"].data<uint8_t>(),
          .text_present = fields["text_present"].data<uint8_t>(),
          .matched = fields["matched"].data<uint8_t>(),
          .num_samples = fields.num_samples(),
          .group = group};
}

// Reads `image` [P, H] and both embeddings; writes "paired_image" [P, H], the image that each text gets.
Slot append_pairs(std::vector<BlockSpec>& blocks, const Slot& image, const MatchingConfig& config) {
  const std::string name = "matching.pairs";
  const Slot paired{.name = "paired_image", .dims = image.dims, .place = "batch"};
  const auto forward = [=](int, std::span<const Variable> inputs, const Fields& fields, const Pass& pass) {
    if (!pass.training && !pass.measures_loss) return inputs[0];
    const int64_t num_samples = fields.num_samples();
    TRIPTYCH_CHECK(num_samples % config.group == 0, "{} rows, groups of {}", num_samples, config.group);
    const Tensor of_images = inputs[1].tensor().contiguous(), of_texts = inputs[2].tensor().contiguous();
    const Tensor sources = Tensor::empty(pass.device, DType::kInt32, Shape{num_samples});
    hard_negatives(pass.device.stream(), {.rows = matched_rows(fields, config.group),
                                          .image = of_images.data<float>(),
                                          .text = of_texts.data<float>(),
                                          .embedding = of_images.size(1),
                                          .scale = config.scale,
                                          .key = random_key(pass.seed, name, static_cast<uint64_t>(pass.step)),
                                          .first_sample = pass.first_sample,
                                          .sources = sources.data<int32_t>()});
    return take_rows(inputs[0], sources);
  };
  blocks.push_back({.name = name,
                    .reads = {image.name, "image_embedding", "text_embedding"},
                    .fields = kPresence,
                    .writes = {paired},
                    .make = [=](ParameterStore&) { return make_block(0, forward); }});
  return paired;
}

}  // namespace

Tensor matching_targets_of(const Fields& fields, int64_t group) {
  const MatchedRows rows = matched_rows(fields, group);
  Device& device = fields["matched"].device();
  const Tensor targets = Tensor::empty(device, DType::kInt32, Shape{rows.num_samples});
  matching_targets(device.stream(), rows, targets.data<int32_t>());
  return targets;
}

ModelSpec aligner(const AlignerConfig& config) {
  const MultimodalConfig& parts = config.parts;
  ModelSpec model;
  const EncodedPair encoded = append_encoders(model.blocks, parts, config.num_masked > 0);
  append_image_embedding(model.blocks, parts.image, config.embedding);
  append_text_embedding(model.blocks, parts.text, config.embedding);
  const Slot paired = append_pairs(model.blocks, encoded.image, config.matching);
  const Slot connected =
      append_connector(model.blocks, paired, parts.connector, parts.fusion.sizes, parts.fusion.dropout);
  append_fusion(model.blocks, connected, encoded.text, parts.fusion);
  append_product(model.blocks, "matching.head", {.name = "fused", .dims = {parts.fusion.sizes.width}},
                 {.name = "matching_scores", .dims = {2}, .place = "batch", .dtype = DType::kFloat32});
  if (config.num_masked > 0) {
    const Slot tokens = append_fused_tokens(model.blocks, connected, encoded.text, parts.fusion);
    append_masked_token_logits(model.blocks, tokens, parts.fusion.sizes,
                               {.text = parts.text, .num_masked = config.num_masked, .tied_output = true});
  }
  model.fingerprint =
      fmt::format("aligner embedding={} masked={} {}", config.embedding, config.num_masked > 0, parts.to_string());
  return model;
}

}  // namespace triptych::models
