#include "models/grounder.h"

#include "models/box_head.h"
#include "ops/pooling.h"

namespace triptych::models {
namespace {

struct GroundingHead {
  OptionalNorm norm;
  BoxHead box;
};

void append_head(std::vector<BlockSpec>& blocks, const TransformerSizes& sizes) {
  const double flops = BoxHead::forward_flops(sizes.width);
  const auto forward = [](const GroundingHead& head, std::span<const Variable> inputs, const Fields&,
                          const Pass& pass) {
    const Variable first = select_token(pass.laid_out(inputs[0], "batch"), Tensor());
    return head.box.forward(head.norm.forward(first, pass), Variable(), pass);
  };
  blocks.push_back({.name = "ground.head",
                    .reads = {"text"},
                    .writes = {{.name = "box", .dims = {4}, .place = "batch", .dtype = DType::kFloat32}},
                    .forward_flops = flops,
                    .backward_flops = 2 * flops,
                    .make = [=](ParameterStore& store) {
                      return make_block(
                          GroundingHead{OptionalNorm(store, "ground.head.norm", sizes.width, sizes.last_norm()),
                                        BoxHead(store, "ground.head.box", sizes.width)},
                          forward);
                    }});
}

}  // namespace

ModelSpec grounder(const GrounderConfig& config) {
  ModelSpec model;
  append_image_encoder(model.blocks, config.image);
  append_image_memory(model.blocks, config.image, "memory");
  append_token_embedding(model.blocks, "text", config.text, false);
  append_stack(model.blocks, "text", model.blocks.back().writes[0], config.text.sizes,
               {.dropout = config.text.dropout,
                .lengths = "lengths",
                .memory = "memory",
                .memory_width = config.image.sizes.width,
                .memory_sequence = config.image.sequence()});
  append_head(model.blocks, config.text.sizes);
  model.fingerprint = fmt::format("grounder image({}) text({})", config.image.to_string(), config.text.to_string());
  return model;
}

}  // namespace triptych::models
