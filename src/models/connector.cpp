#include "models/connector.h"

#include "ops/add.h"
#include "ops/broadcast.h"
#include "ops/linear.h"

namespace triptych::models {
namespace {

constexpr const char* kName = "connector";

// By its inner width over `tp`, as a block's feed-forward layer.
struct Mlp {
  Parameter *in_weight, *in_bias, *out_weight, *out_bias;
};

std::string part(const char* name) {
  return fmt::format("{}.{}", kName, name);
}

void append_mlp(std::vector<BlockSpec>& blocks, const Slot& image, const Slot& connected) {
  const int64_t from = image.dims[1], to = connected.dims[1];
  const auto forward = [](const Mlp& parts, std::span<const Variable> inputs, const Fields&, const Pass& pass) {
    const Variable whole = pass.laid_out(inputs[0], "batch");
    const Variable h = linear(whole, pass.use(*parts.in_weight), pass.use(*parts.in_bias), pass.dtype);
    const Variable y = activated_linear(h, pass.use(*parts.out_weight), Activation::kGelu, pass.dtype);
    return add(pass.laid_out(y, "batch"), pass.use(*parts.out_bias));
  };
  const double flops = ProjectionHead::forward_flops(from + to, to * image.dims[0]);
  blocks.push_back(
      {.name = kName,
       .reads = {image.name},
       .writes = {connected},
       .forward_flops = flops,
       .backward_flops = 2 * flops,
       .make = [=](ParameterStore& store) {
         return make_block(
             Mlp{&store.create(part("in.weight"), Shape{to, from}, "feed_forward.in.weight", linear_matrix(from)),
                 &store.create(part("in.bias"), Shape{to}, "feed_forward.in.bias", {}),
                 &store.create(part("out.weight"), Shape{to, to}, "feed_forward.out.weight", linear_matrix(to)),
                 &store.create(part("out.bias"), Shape{to}, "feed_forward.out.bias", {})},
             forward);
       }});
}

void append_resampler(std::vector<BlockSpec>& blocks, const Slot& image, const ConnectorConfig& config,
                      const TransformerSizes& reader, float dropout) {
  TransformerSizes sizes = reader;
  sizes.layers = config.layers;
  sizes.positions = PositionKind::kNone;  // the queries are told apart by their values
  const Slot queries{.name = "connector_queries", .dims = {config.queries, sizes.width}};
  // Reads the image for the number of its samples alone.
  const auto forward = [](Parameter* const& values, std::span<const Variable> inputs, const Fields&, const Pass& pass) {
    const int64_t batch = inputs[0].global_shape()[0];
    return pass.laid_out(broadcast(pass.use(*values), batch, pass.layout("batch"), pass.mesh), "stream");
  };
  blocks.push_back({.name = kName, .reads = {image.name}, .writes = {queries}, .make = [=](ParameterStore& store) {
                      Parameter& values =
                          store.create(part("queries"), Shape{queries.dims[0], queries.dims[1]}, "replicated",
                                       {.standard_deviation = 1, .decay = true, .in_compute_dtype = true});
                      return make_block(&values, forward);
                    }});
  append_stack(
      blocks, kName, queries, sizes,
      {.dropout = dropout, .memory = image.name, .memory_width = image.dims[1], .memory_sequence = image.dims[0]});
  append_memory(blocks, part("norm"), queries, kConnectedSlot, sizes);
}

}  // namespace

std::string_view connector_name(ConnectorKind kind) {
  switch (kind) {
    case ConnectorKind::kNone:
      return "none";
    case ConnectorKind::kLinear:
      return "linear";
    case ConnectorKind::kMlp:
      return "mlp";
    case ConnectorKind::kResampler:
      return "resampler";
  }
  throw InternalError("connector", "no such kind");
}

std::string ConnectorConfig::to_string() const {
  if (kind != ConnectorKind::kResampler) return std::string(connector_name(kind));
  return fmt::format("resampler queries={} layers={}", queries, layers);
}

Slot append_connector(std::vector<BlockSpec>& blocks, const Slot& image, const ConnectorConfig& config,
                      const TransformerSizes& reader, float dropout) {
  if (config.kind == ConnectorKind::kNone) return image;
  const int64_t tokens = config.kind == ConnectorKind::kResampler ? config.queries : image.dims[0];
  const Slot connected{.name = kConnectedSlot, .dims = {tokens, reader.width}, .place = "batch"};
  if (config.kind == ConnectorKind::kLinear) append_product(blocks, kName, image, connected);
  if (config.kind == ConnectorKind::kMlp) append_mlp(blocks, image, connected);
  if (config.kind == ConnectorKind::kResampler) append_resampler(blocks, image, config, reader, dropout);
  return connected;
}

}  // namespace triptych::models
