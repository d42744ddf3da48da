#include "models/parts.h"

#include "nn/embeddings.h"
#include "ops/activation.h"
#include "ops/linear.h"

namespace triptych::models {

std::string TransformerSizes::to_string() const {
  const TransformerSizes usual;
  std::string text = fmt::format("width={} layers={} heads={} feed_forward={}", width, layers, heads, feed_forward);
  const auto add = [&](const char* key, const auto& value, const auto& by_default) {
    if (value != by_default) text += fmt::format(" {}={}", key, value);
  };
  add("activation", activation_name(activation), activation_name(usual.activation));
  add("norm", norm_name(norm.kind), norm_name(usual.norm.kind));
  add("norm_epsilon", norm.epsilon, usual.norm.epsilon);
  add("post_norm", post_norm, usual.post_norm);
  add("input_norm", input_norm, usual.input_norm);
  add("kv_heads", kv_heads > 0 ? kv_heads : heads, heads);
  add("positions", position_name(positions), position_name(usual.positions));
  add("rotary_base", rotary_base, usual.rotary_base);
  return text;
}

void append_stack(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& stream,
                  const TransformerSizes& sizes, const StackOptions& options) {
  const bool is_rotary = sizes.positions == PositionKind::kRotary;
  const PositionGrid grid{.sequence = is_rotary ? stream.dims[0] : 0, .side = options.grid_side};
  const TransformerBlockConfig config{.width = sizes.width,
                                      .num_heads = sizes.heads,
                                      .feed_forward = sizes.feed_forward,
                                      .causal = options.causal,
                                      .memory_width = options.memory_width,
                                      .dropout = options.dropout,
                                      .depth = sizes.layers,
                                      .activation = sizes.activation,
                                      .norm = sizes.norm,
                                      .post_norm = sizes.post_norm,
                                      .kv_heads = sizes.kv_heads,
                                      .rotary = {.grid = grid, .base = sizes.rotary_base}};
  const double flops = TransformerBlock::forward_flops(config, stream.dims[0], options.memory_sequence);
  const auto forward = [lengths = options.lengths](const TransformerBlock& block, std::span<const Variable> inputs,
                                                   const Fields& fields, const Pass& pass) {
    return block.forward(inputs[0], inputs.size() > 1 ? inputs[1] : Variable(),
                         {.own = lengths.empty() ? Tensor() : fields[lengths], .memory = {}}, pass);
  };
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const std::string block_name = fmt::format("{}.blocks.{}", name, i);
    BlockSpec& spec = blocks.emplace_back();
    spec.name = block_name;
    spec.reads = {stream.name};
    if (!options.memory.empty()) spec.reads.push_back(options.memory);
    if (!options.lengths.empty()) spec.fields = {options.lengths};
    spec.writes = {stream};
    spec.forward_flops = flops;
    spec.backward_flops = 2 * flops;
    TransformerBlockConfig of_block = config;
    if (sizes.layers > 1) {
      of_block.drop_path = sizes.drop_path * static_cast<float>(i) / static_cast<float>(sizes.layers - 1);
    }
    spec.make = [=](ParameterStore& store) {
      return make_block(TransformerBlock(store, block_name, of_block), forward);
    };
  }
}

void append_modality(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& stream) {
  const auto forward = [](const SegmentTable& table, std::span<const Variable> inputs, const Fields&,
                          const Pass& pass) { return table.add_one(inputs[0], 0, pass); };
  blocks.push_back({.name = name,
                    .reads = {stream.name},
                    .writes = {stream},
                    .make = [=, width = stream.dims.back()](ParameterStore& store) {
                      return make_block(SegmentTable(store, name, 1, width), forward);
                    }});
}

ProjectionHead::ProjectionHead(ParameterStore& store, const std::string& name, int64_t width, int64_t outputs,
                               const std::optional<NormConfig>& norm)
    : norm_(store, name + ".norm", width, norm),
      weight_(&store.create(name + ".projection.weight", Shape{outputs, width}, "replicated", linear_matrix(width))) {}

Variable ProjectionHead::forward(const Variable& x, const Pass& pass) const {
  return linear(norm_.forward(x, pass), pass.use(*weight_), Variable(), DType::kFloat32);
}

}  // namespace triptych::models
