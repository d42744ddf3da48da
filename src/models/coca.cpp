#include "models/coca.h"

#include "models/two_tower.h"
#include "nn/attention_pool.h"
#include "ops/pooling.h"

namespace triptych::models {
namespace {

constexpr const char* kMemory = "memory";  // the pooled image

// "image.pool": from the image's sequence to `queries` tokens.
void append_pool(std::vector<BlockSpec>& blocks, const CocaConfig& config) {
  const TransformerSizes sizes = config.image.sizes;
  const int64_t width = sizes.width, queries = config.pool_queries, heads = sizes.heads;
  const double flops = AttentionPool::forward_flops(width, queries, config.image.sequence());
  const auto forward = [](const AttentionPool& pool, std::span<const Variable> inputs, const Fields&,
                          const Pass& pass) { return pool.forward(pass.laid_out(inputs[0], "batch"), pass); };
  blocks.push_back({.name = "image.pool",
                    .reads = {"image"},
                    .writes = {{.name = kMemory, .dims = {queries, width}, .place = "batch"}},
                    .forward_flops = flops,
                    .backward_flops = 2 * flops,
                    .num_inputs = inputs_of_attention(queries, config.image.sequence()),
                    .make = [=](ParameterStore& store) {
                      return make_block(
                          AttentionPool(store, "image.pool", width, queries, heads, sizes.last_norm(), sizes.biases),
                          forward);
                    }});
}

struct EmbeddingHead {
  AttentionPool pool;
  ProjectionHead head;
};

// "image.head": one query over the image's sequence.
void append_pooled_embedding(std::vector<BlockSpec>& blocks, const CocaConfig& config) {
  const TransformerSizes sizes = config.image.sizes;
  const int64_t width = sizes.width, heads = sizes.heads, embedding = config.embedding;
  const double flops =
      AttentionPool::forward_flops(width, 1, config.image.sequence()) + ProjectionHead::forward_flops(width, embedding);
  const auto forward = [](const EmbeddingHead& parts, std::span<const Variable> inputs, const Fields&,
                          const Pass& pass) {
    const Variable one = select_token(parts.pool.forward(pass.laid_out(inputs[0], "batch"), pass), Tensor());
    return l2_normalize(parts.head.forward(one, pass));
  };
  blocks.push_back(
      {.name = "image.head",
       .reads = {"image"},
       .writes = {{.name = "image_embedding", .dims = {embedding}, .place = "batch", .dtype = DType::kFloat32}},
       .forward_flops = flops,
       .backward_flops = 2 * flops,
       .num_inputs = inputs_of_attention(1, config.image.sequence()),
       .make = [=](ParameterStore& store) {
         return make_block(
             EmbeddingHead{AttentionPool(store, "image.head.pool", width, 1, heads, sizes.last_norm(), sizes.biases),
                           ProjectionHead(store, "image.head", width, embedding, sizes.norm)},
             forward);
       }});
}

}  // namespace

ModelSpec coca(const CocaConfig& config) {
  ModelSpec model;
  append_image_encoder(model.blocks, config.image);
  append_pooled_embedding(model.blocks, config);
  append_pool(model.blocks, config);
  append_token_embedding(model.blocks, "text", config.text, false);
  const Slot text = model.blocks.back().writes[0];
  append_stack(model.blocks, "text", text, config.text.sizes, {.causal = true, .dropout = config.text.dropout});
  append_text_embedding(model.blocks, config.text, config.embedding);
  TransformerSizes multimodal = config.text.sizes;
  multimodal.layers = config.multimodal_layers;
  append_stack(model.blocks, "multimodal", text, multimodal,
               {.causal = true,
                .dropout = config.text.dropout,
                .memory = kMemory,
                .memory_width = config.image.sizes.width,
                .memory_sequence = config.pool_queries});
  append_token_logits(model.blocks, "text", config.text, false);
  model.fingerprint =
      fmt::format("coca embedding={} pool_queries={} multimodal_layers={} image({}) text({})", config.embedding,
                  config.pool_queries, config.multimodal_layers, config.image.to_string(), config.text.to_string());
  return model;
}

}  // namespace triptych::models
