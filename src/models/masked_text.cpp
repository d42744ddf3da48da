#include "models/masked_text.h"

#include <optional>

#include "nn/embeddings.h"
#include "ops/activation.h"
#include "ops/gather.h"
#include "ops/linear.h"

namespace triptych::models {
namespace {

// Devlin et al. 2019: what stands between the encoder and the scores, and the scores' bias.
struct OutputTransform {
  Parameter *weight, *bias;
  NormParameters norm;
  Parameter* token_bias;
};

struct MaskedTokenOutput {
  OptionalNorm norm;
  std::optional<OutputTransform> transform;
  TokenTable table;
};

OutputTransform make_transform(ParameterStore& store, const std::string& name, const NormConfig& norm, int64_t width,
                               int64_t vocabulary) {
  return {&store.create(name + ".transform.weight", Shape{width, width}, "replicated", linear_matrix(width)),
          &store.create(name + ".transform.bias", Shape{width}, "replicated", {}),
          NormParameters(store, name + ".transform.norm", width, norm),
          &store.create(name + ".bias", Shape{vocabulary}, "logits.bias", {})};
}

}  // namespace

void append_masked_token_logits(std::vector<BlockSpec>& blocks, const Slot& stream, const TransformerSizes& sizes,
                                const MaskedTextConfig& config) {
  const std::string name = "text.output", table = config.tied_output ? "text.embed" : name;
  const int64_t width = sizes.width, vocabulary = config.text.vocabulary;
  const double flops = 2.0 * static_cast<double>(config.num_masked * width) *
                       static_cast<double>(vocabulary + (config.transform_output ? width : 0));
  const auto forward = [](const MaskedTokenOutput& parts, std::span<const Variable> inputs, const Fields& fields,
                          const Pass& pass) {
    const Variable chosen = gather(pass.laid_out(inputs[0], "batch"), pass.rows(fields["masked_positions"]));
    const Variable x = parts.norm.forward(pass.laid_out(chosen, "tokens"), pass);
    if (!parts.transform) return parts.table.logits(x, pass);
    const OutputTransform& t = *parts.transform;
    const Variable h = gelu(linear(x, pass.use(*t.weight), pass.use(*t.bias), pass.dtype));
    return parts.table.logits(t.norm.forward(h, pass), pass, pass.use(*t.token_bias));
  };
  blocks.push_back({.name = name,
                    .reads = {stream.name},
                    .fields = {"masked_positions"},
                    .writes = {{.name = "logits", .dims = {config.num_masked, vocabulary}, .place = "logits"}},
                    .forward_flops = flops,
                    .backward_flops = 2 * flops,
                    .make = [=, norm = sizes.norm, last_norm = sizes.last_norm()](ParameterStore& store) {
                      MaskedTokenOutput parts{OptionalNorm(store, name + ".norm", width, last_norm), std::nullopt,
                                              TokenTable(store, table, vocabulary, width, config.tied_output)};
                      if (config.transform_output)
                        parts.transform = make_transform(store, name, norm, width, vocabulary);
                      return make_block(parts, forward);
                    }});
}

ModelSpec masked_text(const MaskedTextConfig& config) {
  ModelSpec model;
  append_token_embedding(model.blocks, "text", config.text, config.tied_output);
  const Slot text = model.blocks.back().writes[0];
  append_stack(model.blocks, "text", text, config.text.sizes,
               {.causal = false, .dropout = config.text.dropout, .lengths = "lengths"});
  append_masked_token_logits(model.blocks, text, config.text.sizes, config);
  model.fingerprint = fmt::format("masked_text tied_output={} transform_output={} text({})", config.tied_output,
                                  config.transform_output, config.text.to_string());
  return model;
}

}  // namespace triptych::models
