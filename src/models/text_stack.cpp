#include "models/text_stack.h"

#include <optional>
#include <utility>

#include "nn/decoding.h"
#include "nn/embeddings.h"
#include "ops/concatenate.h"
#include "ops/linear.h"
#include "ops/pooling.h"
#include "ops/slice.h"
#include "ops/tanh.h"

namespace triptych::models {
namespace {

struct TokenEmbedding {
  TokenTable table;
  Positions positions;
  std::optional<SegmentTable> segments;
  OptionalNorm norm;
};

struct TokenOutput {
  OptionalNorm norm;
  TokenTable table;
};

struct Pooler {
  OptionalNorm norm;
  Parameter *weight, *bias;
};

}  // namespace

std::string TextStackConfig::to_string() const {
  std::string text = fmt::format("length={} vocabulary={} {} attention={}", length, vocabulary, sizes.to_string(),
                                 causal ? "causal" : "bidirectional");
  if (reads_padding) text += " padding=read";
  if (segments > 0) text += fmt::format(" segments={}", segments);
  return text;
}

void append_token_embedding(std::vector<BlockSpec>& blocks, const std::string& name, const TextStackConfig& config,
                            bool is_tied) {
  const std::string block_name = name + ".embed";
  const auto forward = [](const TokenEmbedding& parts, std::span<const Variable>, const Fields& fields,
                          const Pass& pass) {
    Variable x = parts.positions.add_to(parts.table.embed(fields["tokens"], pass), pass);
    if (parts.segments) x = parts.segments->add_one(x, 0, pass);
    return parts.norm.forward(x, pass);
  };
  blocks.push_back(
      {.name = block_name,
       .fields = {"tokens"},
       .writes = {{.name = name, .dims = {config.length, config.sizes.width}, .is_text = true}},
       .make = [=](ParameterStore& store) {
         const int64_t width = config.sizes.width;
         return make_block(
             TokenEmbedding{TokenTable(store, block_name, config.vocabulary, width, is_tied),
                            Positions(store, block_name, config.sizes.positions, {.sequence = config.length}, width),
                            config.segments > 0
                                ? std::optional<SegmentTable>(std::in_place, store, block_name, config.segments, width)
                                : std::nullopt,
                            OptionalNorm(store, block_name + ".norm", width, config.sizes.first_norm())},
             forward);
       }});
}

Slot append_text_prefix(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& prefix, const Slot& text) {
  const Slot sequence{.name = name + "_sequence",
                      .dims = {prefix.dims[0] + text.dims[0], text.dims[1]},
                      .is_text = true,
                      .prefix = prefix.dims[0]};
  struct Nothing {};
  const auto forward = [](const Nothing&, std::span<const Variable> inputs, const Fields&, const Pass& pass) {
    if (!inputs[0].defined()) return inputs[1];  // decoding, behind the first token
    const Variable text_BTH = pass.laid_out(inputs[1], "batch");
    return pass.laid_out(concatenate({pass.laid_out(inputs[0], "batch"), text_BTH}, 1), "stream");
  };
  blocks.push_back({.name = name + ".join",
                    .reads = {prefix.name, text.name},
                    .writes = {sequence},
                    .make = [forward](ParameterStore&) { return make_block(Nothing{}, forward); }});
  return sequence;
}

void append_text_of(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& sequence, const Slot& text) {
  struct Nothing {};
  const auto forward = [prefix = sequence.prefix](const Nothing&, std::span<const Variable> inputs, const Fields&,
                                                  const Pass& pass) {
    const bool has_prefix = pass.cache == nullptr || pass.cache->position() == 0;
    if (!has_prefix) return inputs[0];
    const Variable whole = pass.laid_out(inputs[0], "batch");
    return pass.laid_out(slice(whole, 1, prefix, whole.global_shape()[1] - prefix), "stream");
  };
  blocks.push_back(
      {.name = name + ".part", .reads = {sequence.name}, .writes = {text}, .make = [forward](ParameterStore&) {
         return make_block(Nothing{}, forward);
       }});
}

void append_token_logits(std::vector<BlockSpec>& blocks, const std::string& name, const TextStackConfig& config,
                         bool is_tied) {
  const std::string block_name = name + ".output", table = is_tied ? name + ".embed" : block_name;
  const double flops = 2.0 * static_cast<double>(config.length * config.sizes.width * config.vocabulary);
  const auto forward = [](const TokenOutput& parts, std::span<const Variable> inputs, const Fields&, const Pass& pass) {
    return parts.table.logits(pass.laid_out(parts.norm.forward(inputs[0], pass), "tokens"), pass);
  };
  blocks.push_back(
      {.name = block_name,
       .reads = {name},
       .writes = {{.name = "logits", .dims = {config.length, config.vocabulary}, .place = "logits", .is_text = true}},
       .forward_flops = flops,
       .backward_flops = 2 * flops,
       .make = [=](ParameterStore& store) {
         return make_block(
             TokenOutput{OptionalNorm(store, block_name + ".norm", config.sizes.width, config.sizes.last_norm()),
                         TokenTable(store, table, config.vocabulary, config.sizes.width, is_tied)},
             forward);
       }});
}

void append_text_pooler(std::vector<BlockSpec>& blocks, const std::string& name, const TextStackConfig& config) {
  const std::string block_name = name + ".pooler";
  const int64_t width = config.sizes.width;
  const double flops = ProjectionHead::forward_flops(width, width);
  const auto forward = [](const Pooler& parts, std::span<const Variable> inputs, const Fields&, const Pass& pass) {
    const Variable first = select_token(pass.laid_out(inputs[0], "batch"), Tensor());
    return tanh(linear(parts.norm.forward(first, pass), pass.use(*parts.weight), pass.use(*parts.bias), pass.dtype));
  };
  blocks.push_back(
      {.name = block_name,
       .reads = {name},
       .writes = {{.name = name + "_pooled", .dims = {width}, .place = "batch"}},
       .forward_flops = flops,
       .backward_flops = 2 * flops,
       .make = [=](ParameterStore& store) {
         return make_block(
             Pooler{OptionalNorm(store, block_name + ".norm", width, config.sizes.last_norm()),
                    &store.create(block_name + ".weight", Shape{width, width}, "replicated", linear_matrix(width)),
                    &store.create(block_name + ".bias", Shape{width}, "replicated", {})},
             forward);
       }});
}

}  // namespace triptych::models
