#include "models/parts.h"

#include "kernels/elementwise.h"
#include "kernels/presence.h"
#include "nn/embeddings.h"
#include "ops/activation.h"
#include "ops/linear.h"

namespace triptych::models {
namespace {

// Of sequences with so many tokens in front.
Tensor longer_by(const Tensor& lengths, int64_t added) {
  const Tensor given = lengths.contiguous();
  Tensor longer = Tensor::empty(given.device(), DType::kInt32, given.shape());
  lengthen(given.device().stream(), given.data<int32_t>(), static_cast<int32_t>(added), given.num_elements(),
           longer.data<int32_t>());
  return longer;
}

}  // namespace

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
  add("biases", biases, usual.biases);
  return text;
}

std::function<int64_t(const std::string&)> inputs_of_attention(int64_t own, int64_t memory) {
  return [=](const std::string& matrix) {
    const bool is_of_memory = matrix.ends_with(".kv.weight") && !matrix.ends_with(".attention.kv.weight");
    return is_of_memory ? memory : own;
  };
}

void append_block(std::vector<BlockSpec>& blocks, const std::string& name, int64_t i, const Slot& stream,
                  const TransformerSizes& sizes, const StackOptions& options) {
  const bool is_rotary = sizes.positions == PositionKind::kRotary;
  const PositionGrid grid{.sequence = is_rotary ? stream.dims[0] : 0, .side = options.grid_side};
  TransformerBlockConfig config{.width = sizes.width,
                                .num_heads = sizes.heads,
                                .feed_forward = sizes.feed_forward,
                                .causal = options.causal,
                                .memory_width = options.memory_width,
                                .self_attention = options.self_attention,
                                .initial_gate = options.initial_gate,
                                .dropout = options.dropout,
                                .depth = sizes.layers,
                                .activation = sizes.activation,
                                .norm = sizes.norm,
                                .post_norm = sizes.post_norm,
                                .kv_heads = sizes.kv_heads,
                                .biases = sizes.biases,
                                .rotary = {.grid = grid, .base = sizes.rotary_base}};
  if (sizes.layers > 1)
    config.drop_path = sizes.drop_path * static_cast<float>(i) / static_cast<float>(sizes.layers - 1);
  const auto forward = [=](const TransformerBlock& block, std::span<const Variable> inputs, const Fields& fields,
                           const Pass& pass) {
    Tensor own = options.lengths.empty() ? Tensor() : fields[options.lengths];
    if (own.defined() && options.tokens_before > 0) own = longer_by(own, options.tokens_before);
    const Tensor of_memory = options.memory_lengths.empty() ? Tensor() : fields[options.memory_lengths];
    return block.forward(inputs[0], inputs.size() > 1 ? inputs[1] : Variable(), {.own = own, .memory = of_memory},
                         pass);
  };
  BlockSpec& spec = blocks.emplace_back();
  spec.name = fmt::format("{}.blocks.{}", name, i);
  spec.reads = {stream.name};
  if (!options.memory.empty()) spec.reads.push_back(options.memory);
  if (!options.lengths.empty()) spec.fields = {options.lengths};
  if (!options.memory_lengths.empty() && options.memory_lengths != options.lengths) {
    spec.fields.push_back(options.memory_lengths);
  }
  spec.writes = {stream};
  spec.forward_flops = TransformerBlock::forward_flops(config, stream.dims[0], options.memory_sequence);
  spec.backward_flops = 2 * spec.forward_flops;
  spec.num_inputs = inputs_of_attention(stream.dims[0], options.memory_sequence);
  spec.make = [config, forward, block_name = spec.name](ParameterStore& store) {
    return make_block(TransformerBlock(store, block_name, config), forward);
  };
}

void append_stack(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& stream,
                  const TransformerSizes& sizes, const StackOptions& options) {
  for (int64_t i = 0; i < sizes.layers; ++i) append_block(blocks, name, i, stream, sizes, options);
}

void append_memory(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& stream,
                   const std::string& memory, const TransformerSizes& sizes) {
  const auto forward = [](const OptionalNorm& norm, std::span<const Variable> inputs, const Fields&, const Pass& pass) {
    return pass.laid_out(norm.forward(inputs[0], pass), "batch");
  };
  blocks.push_back({.name = name,
                    .reads = {stream.name},
                    .writes = {{.name = memory, .dims = stream.dims, .place = "batch"}},
                    .make = [=](ParameterStore& store) {
                      return make_block(OptionalNorm(store, name, sizes.width, sizes.last_norm()), forward);
                    }});
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

Variable constant_vector(int64_t size, float value, const Pass& pass) {
  const Tensor values = Tensor::empty(pass.device, DType::kFloat32, Shape{size});
  kernels::fill(pass.device.stream(), values.raw(), value, size, DType::kFloat32);
  return Variable::constant(values, Shape{size}, Layout());
}

void append_product(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& from, const Slot& to) {
  struct Product {
    Parameter *weight, *bias;
  };
  const int64_t width = from.dims.back(), outputs = to.dims.back();
  const auto forward = [dtype = to.dtype](const Product& product, std::span<const Variable> inputs, const Fields&,
                                          const Pass& pass) {
    return linear(inputs[0], pass.use(*product.weight), pass.use(*product.bias), dtype.value_or(pass.dtype));
  };
  double flops = 2.0 * static_cast<double>(width);
  for (const int64_t dim : to.dims) flops *= static_cast<double>(dim);
  blocks.push_back({.name = name,
                    .reads = {from.name},
                    .writes = {to},
                    .forward_flops = flops,
                    .backward_flops = 2 * flops,
                    .make = [=](ParameterStore& store) {
                      return make_block(Product{&store.create(name + ".weight", Shape{outputs, width}, "replicated",
                                                              linear_matrix(width)),
                                                &store.create(name + ".bias", Shape{outputs}, "replicated", {})},
                                        forward);
                    }});
}

ProjectionHead::ProjectionHead(ParameterStore& store, const std::string& name, int64_t width, int64_t outputs,
                               const std::optional<NormConfig>& norm, Projection projection)
    : norm_(store, name + ".norm", width, norm) {
  if (projection == Projection::kNone) {
    TRIPTYCH_CHECK(outputs == width, "{}: a state of {} is an embedding of {}", name, width, outputs);
    return;
  }
  weight_ = &store.create(name + ".projection.weight", Shape{outputs, width}, "replicated", linear_matrix(width));
  if (projection == Projection::kBiasedProduct) {
    bias_ = &store.create(name + ".projection.bias", Shape{outputs}, "replicated", {});
  }
}

Variable ProjectionHead::forward(const Variable& x, const Pass& pass) const {
  const Variable state = norm_.forward(x, pass);
  if (weight_ == nullptr) return state;
  return linear(state, pass.use(*weight_), pass.use(bias_), DType::kFloat32);
}

}  // namespace triptych::models
