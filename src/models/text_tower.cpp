#include "models/text_tower.h"

#include <memory>

#include "models/tower_parts.h"
#include "ops/embedding.h"
#include "ops/pooling.h"
#include "ops/redistribute.h"

namespace triptych {
namespace {

class TokenEmbedding : public Block {
 public:
  TokenEmbedding(ParameterStore& store, const TextTowerConfig& config, bool sequence_parallel)
      : table_(&store.create("text.embed.tokens.weight", Shape{config.vocabulary, config.width},
                             {.standard_deviation = 0.02f,
                              .layout = Layout().with(Axis::kTp, Placement::shard(0)),
                              .decay = true,
                              .in_compute_dtype = true})),
        positions_(&store.create("text.embed.positions", Shape{config.length, config.width},
                                 positions_spec(sequence_parallel))) {}

  Variable forward(const Variable&, const Fields& data, const Pass& pass) const override {
    const Shape ids_shape{data.num_samples() * pass.mesh.size(Axis::kDp), data["tokens"].size(1)};
    const Variable rows = embedding(data["tokens"], ids_shape, pass.whole(), pass.use(*table_), pass.mesh);
    return add_positions(redistribute(rows, pass.between_blocks(), pass.mesh), pass.use(*positions_), pass.mesh);
  }

 private:
  Parameter* table_;
  Parameter* positions_;
};

class TextHead : public Block {
 public:
  TextHead(ParameterStore& store, const TwoTowerConfig& config)
      : head_(store, "text.head", config.text.width, config.embedding) {}

  // The end token is a caption's last.
  Variable forward(const Variable& x, const Fields& data, const Pass& pass) const override {
    return head_.forward(select_token(redistribute(x, pass.whole(), pass.mesh), data["lengths"], -1), pass);
  }

 private:
  ProjectionHead head_;
};

}  // namespace

void append_text_tower(std::vector<BlockSpec>& blocks, const TwoTowerConfig& config, bool sequence_parallel) {
  const TextTowerConfig& text = config.text;
  const Slot tokens{"text", {text.length, text.width}, true};
  blocks.push_back({.name = "text.embed", .writes = tokens, .fields = {"tokens"}, .make = [=](ParameterStore& store) {
                      return std::make_unique<TokenEmbedding>(store, text, sequence_parallel);
                    }});
  for (int64_t i = 0; i < text.layers; ++i) {
    const TransformerBlockConfig block{.width = text.width,
                                       .num_heads = text.heads,
                                       .feed_forward = text.feed_forward,
                                       .causal = text.causal,
                                       .dropout = config.dropout,
                                       .depth = text.layers};
    blocks.push_back(transformer_block_spec(fmt::format("text.blocks.{}", i), tokens, block, sequence_parallel, true));
  }
  const double head_flops = 2.0 * static_cast<double>(text.width * config.embedding);
  blocks.push_back({.name = "text.head",
                    .reads = "text",
                    .writes = {"text_embedding", {config.embedding}, false},
                    .fields = {"lengths"},
                    .forward_flops = head_flops,
                    .backward_flops = 2 * head_flops,
                    .make = [=](ParameterStore& store) { return std::make_unique<TextHead>(store, config); }});
}

}  // namespace triptych
