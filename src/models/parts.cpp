#include "models/parts.h"

#include <cmath>

#include "ops/activation.h"
#include "ops/linear.h"

namespace triptych::models {

std::string TransformerSizes::to_string() const {
  const TransformerSizes usual;
  std::string text = fmt::format("width={} layers={} heads={} feed_forward={}", width, layers, heads, feed_forward);
  if (activation != usual.activation) text += fmt::format(" activation={}", activation_name(activation));
  return text;
}

void append_stack(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& stream,
                  const TransformerSizes& sizes, const StackOptions& options) {
  const TransformerBlockConfig config{.width = sizes.width,
                                      .num_heads = sizes.heads,
                                      .feed_forward = sizes.feed_forward,
                                      .causal = options.causal,
                                      .memory_width = options.memory_width,
                                      .dropout = options.dropout,
                                      .depth = sizes.layers,
                                      .activation = sizes.activation};
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
    spec.make = [=](ParameterStore& store) { return make_block(TransformerBlock(store, block_name, config), forward); };
  }
}

ProjectionHead::ProjectionHead(ParameterStore& store, const std::string& name, int64_t width, int64_t outputs)
    : norm_(store, name + ".norm", width),
      weight_(&store.create(
          name + ".projection.weight", Shape{outputs, width}, "replicated",
          {.standard_deviation = 1 / std::sqrt(static_cast<float>(width)), .decay = true, .in_compute_dtype = true})) {}

Variable ProjectionHead::forward(const Variable& x, const Pass& pass) const {
  return linear(norm_.forward(x, pass), pass.use(*weight_), Variable(), DType::kFloat32);
}

}  // namespace triptych::models
