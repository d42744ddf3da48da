#include "models/grounder.h"

#include <cmath>

#include "models/box_head.h"
#include "ops/linear.h"
#include "ops/multiply.h"
#include "ops/pooling.h"
#include "ops/scale.h"
#include "ops/softmax.h"
#include "ops/sum.h"
#include "ops/transpose.h"

namespace triptych::models {
namespace {

struct GroundingHead {
  OptionalNorm norm;
  Parameter *query, *key;
  Tensor places;  // of the patches, as patch_places has them
  BoxHead box;

  // The mean of the patches' places, weighted by how well each goes with the phrase: [B, 4] of phrase [B, H] and
  // image [B, patches, W].
  Variable place(const Variable& phrase, const Variable& image, const Pass& pass) const {
    const Variable queries = linear(phrase, pass.use(*query), Variable(), DType::kFloat32);
    const Variable keys = linear(image, pass.use(*key), Variable(), DType::kFloat32);
    const Variable products = multiply(transpose(keys, {1, 0, 2}), queries);
    const auto width = static_cast<float>(queries.global_shape()[1]);
    const Variable scores = scale(transpose(sum(products, {2}), {1, 0}), 1 / std::sqrt(width));
    const Variable of_patches = transpose(Variable::constant(places, places.shape(), Layout()), {1, 0});
    return linear(softmax(scores), of_patches, Variable(), DType::kFloat32);
  }
};

GroundingHead make_head(ParameterStore& store, const GrounderConfig& config) {
  const std::string name = "ground.head";
  const int64_t width = config.text.sizes.width, image_width = config.image.sizes.width;
  return {OptionalNorm(store, name + ".norm", width, config.text.sizes.last_norm()),
          &store.create(name + ".query.weight", Shape{width, width}, "replicated", linear_matrix(width)),
          &store.create(name + ".key.weight", Shape{width, image_width}, "replicated", linear_matrix(image_width)),
          patch_places(store.device(), config.image.size / config.image.patch), BoxHead(store, name + ".box", width)};
}

void append_head(std::vector<BlockSpec>& blocks, const GrounderConfig& config) {
  const auto width = static_cast<double>(config.text.sizes.width);
  const auto patches = static_cast<double>(config.image.sequence());
  const auto image_width = static_cast<double>(config.image.sizes.width);
  const double flops =
      BoxHead::forward_flops(config.text.sizes.width) + 2 * width * (width + patches * (image_width + 1));
  const auto forward = [](const GroundingHead& head, std::span<const Variable> inputs, const Fields&,
                          const Pass& pass) {
    const Variable phrase = head.norm.forward(select_token(pass.laid_out(inputs[0], "batch"), Tensor()), pass);
    return head.box.forward(phrase, head.place(phrase, pass.laid_out(inputs[1], "batch"), pass), pass);
  };
  blocks.push_back({.name = "ground.head",
                    .reads = {"text", "memory"},
                    .writes = {{.name = "box", .dims = {4}, .place = "batch", .dtype = DType::kFloat32}},
                    .forward_flops = flops,
                    .backward_flops = 2 * flops,
                    .make = [=](ParameterStore& store) { return make_block(make_head(store, config), forward); }});
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
  append_head(model.blocks, config);
  model.fingerprint = fmt::format("grounder image({}) text({})", config.image.to_string(), config.text.to_string());
  return model;
}

}  // namespace triptych::models
