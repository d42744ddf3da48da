#include "models/captioner.h"

namespace triptych::models {

ModelSpec captioner(const CaptionerConfig& config) {
  ModelSpec model;
  append_image_encoder(model.blocks, config.image);
  append_image_memory(model.blocks, config.image, "memory");
  append_token_embedding(model.blocks, "text", config.text, true);
  append_stack(model.blocks, "text", model.blocks.back().writes[0], config.text.sizes,
               {.causal = true,
                .dropout = config.text.dropout,
                .memory = "memory",
                .memory_width = config.image.sizes.width,
                .memory_sequence = config.image.sequence()});
  append_token_logits(model.blocks, "text", config.text, true);
  model.fingerprint = fmt::format("captioner image({}) text({})", config.image.to_string(), config.text.to_string());
  return model;
}

}  // namespace triptych::models
