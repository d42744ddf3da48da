#include "models/fusion.h"

#include <optional>

#include "kernels/presence.h"
#include "nn/embeddings.h"
#include "ops/add.h"
#include "ops/concatenate.h"
#include "ops/embedding.h"
#include "ops/gather.h"
#include "ops/linear.h"
#include "ops/multiply.h"
#include "ops/pooling.h"
#include "ops/scale.h"
#include "ops/slice.h"
#include "ops/tanh.h"

namespace triptych::models {
namespace {

constexpr const char* kFused = "fused";
constexpr const char* kLengths = "lengths";
constexpr float kSmall = 0.02f;  // the standard deviation of what stands in a sequence

// A product with a bias, whole on `tp`.
struct Linear {
  Linear(ParameterStore& store, const std::string& name, int64_t from, int64_t to)
      : weight(&store.create(name + ".weight", Shape{to, from}, "replicated", linear_matrix(from))),
        bias(&store.create(name + ".bias", Shape{to}, "replicated", {})) {}
  Variable forward(const Variable& x, const Pass& pass) const {
    return linear(x, pass.use(*weight), pass.use(*bias), pass.dtype);
  }

  Parameter *weight, *bias;
};

// ---- How a modality enters

struct Entry {
  std::optional<Linear> projection;
  Parameter* absent;
  OptionalNorm norm;
};

// Each token of x [B, S, H], or `absent` [H] all over the samples whose flag is 0.
Variable or_absent(const Variable& x, const Tensor& present, const Variable& absent, const Pass& pass) {
  const Tensor flags = present.contiguous();
  const int64_t num_samples = flags.num_elements(), num_tokens = x.global_shape()[1];
  Tensor sources = Tensor::empty(pass.device, DType::kInt32, Shape{num_samples, num_tokens});
  sources_of_present(pass.device.stream(), flags.data<uint8_t>(), num_samples, num_tokens, sources.data<int32_t>());
  return gather(prepend_token(x, absent), pass.rows(sources));
}

// "fusion.<modality>": the slot's tokens as a stream of the fusion's, "fusion_<modality>".
Slot append_entry(std::vector<BlockSpec>& blocks, const std::string& modality, const Slot& from,
                  const FusionConfig& config) {
  const std::string name = "fusion." + modality, present = modality + "_present";
  const int64_t width = from.dims[1], to = config.sizes.width;
  const bool is_gated = config.kind == FusionKind::kGated;
  const Slot stream{.name = "fusion_" + modality, .dims = {from.dims[0], to}};
  const double flops = width == to ? 0 : ProjectionHead::forward_flops(width, to * from.dims[0]);
  const auto forward = [present](const Entry& parts, std::span<const Variable> inputs, const Fields& fields,
                                 const Pass& pass) {
    Variable x = inputs[0];
    if (parts.projection) x = parts.projection->forward(x, pass);
    x = parts.norm.forward(or_absent(x, fields[present], pass.use(*parts.absent), pass), pass);
    return pass.laid_out(x, "stream");
  };
  blocks.push_back(
      {.name = name,
       .reads = {from.name},
       .fields = {present},
       .writes = {stream},
       .forward_flops = flops,
       .backward_flops = 2 * flops,
       .make = [=, sizes = config.sizes](ParameterStore& store) {
         std::optional<Linear> projection;
         if (width != to) projection.emplace(store, name + ".projection", width, to);
         Parameter& absent =
             store.create(name + ".absent", Shape{to}, "replicated", {.standard_deviation = kSmall, .decay = true});
         const std::optional<NormConfig> norm = is_gated ? std::nullopt : sizes.first_norm();
         return make_block(Entry{projection, &absent, OptionalNorm(store, name + ".norm", to, norm)}, forward);
       }});
  return stream;
}

// ---- What is taken of the streams

Variable first_token(const Variable& x, int64_t before, const Pass& pass) {
  return select_token(pass.laid_out(x, "batch"), Tensor(), static_cast<int32_t>(before));
}

Variable mean_of_tokens(const Variable& x, const Pass& pass) {
  return mean_tokens(pass.laid_out(x, "batch"));
}

struct Pooler {
  OptionalNorm text_norm, image_norm;
  Linear dense;
};

// "fusion.pool": from one sequence, whose text begins behind `before` tokens, or from a text's and an image's.
void append_pool(std::vector<BlockSpec>& blocks, const Slot& text, int64_t before, const std::optional<Slot>& image,
                 const TransformerSizes& sizes) {
  const std::string name = "fusion.pool";
  const int64_t width = sizes.width, taken = image ? 2 * width : width;
  const double flops = ProjectionHead::forward_flops(taken, width);
  const auto forward = [before](const Pooler& parts, std::span<const Variable> inputs, const Fields&,
                                const Pass& pass) {
    Variable x = parts.text_norm.forward(first_token(inputs[0], before, pass), pass);
    if (inputs.size() > 1) {
      const Variable of_image = mean_of_tokens(parts.image_norm.forward(inputs[1], pass), pass);
      x = concatenate({x, of_image}, 1);
    }
    return tanh(parts.dense.forward(x, pass));
  };
  std::vector<std::string> reads{text.name};
  if (image) reads.push_back(image->name);
  blocks.push_back({.name = name,
                    .reads = std::move(reads),
                    .writes = {{.name = kFused, .dims = {width}, .place = "batch"}},
                    .forward_flops = flops,
                    .backward_flops = 2 * flops,
                    .make = [=, has_image = image.has_value()](ParameterStore& store) {
                      const OptionalNorm text_norm(store, name + ".norm", width, sizes.last_norm());
                      const OptionalNorm image_norm(store, name + ".image_norm", width,
                                                    has_image ? sizes.last_norm() : std::nullopt);
                      return make_block(Pooler{text_norm, image_norm, Linear(store, name, taken, width)}, forward);
                    }});
}

// ---- The three kinds

void append_concatenation(std::vector<BlockSpec>& blocks, const Slot& image, const Slot& text,
                          const FusionConfig& config) {
  append_modality(blocks, "fusion.image_modality", image);
  append_modality(blocks, "fusion.text_modality", text);
  const int64_t before = image.dims[0];
  const Slot all{.name = "fusion", .dims = {before + text.dims[0], config.sizes.width}};
  // Nothing of its own: both, one behind the other.
  const auto forward = [](int, std::span<const Variable> inputs, const Fields&, const Pass& pass) {
    const Variable both = concatenate({pass.laid_out(inputs[0], "batch"), pass.laid_out(inputs[1], "batch")}, 1);
    return pass.laid_out(both, "stream");
  };
  blocks.push_back(
      {.name = "fusion.join", .reads = {image.name, text.name}, .writes = {all}, .make = [=](ParameterStore&) {
         return make_block(0, forward);
       }});
  append_stack(blocks, "fusion", all, config.sizes,
               {.dropout = config.dropout, .lengths = kLengths, .tokens_before = before});
  append_pool(blocks, all, before, std::nullopt, config.sizes);
}

struct Gate {
  Linear image, text, gate;
};

void append_gate(std::vector<BlockSpec>& blocks, const Slot& image, const Slot& text, const FusionConfig& config) {
  const std::string name = "fusion.gate";
  const int64_t width = config.sizes.width;
  const double flops = ProjectionHead::forward_flops(4 * width, width);
  const auto forward = [width](const Gate& parts, std::span<const Variable> inputs, const Fields&, const Pass& pass) {
    const Variable i = mean_of_tokens(inputs[0], pass), t = first_token(inputs[1], 0, pass);
    const Variable of_image = tanh(parts.image.forward(i, pass)), of_text = tanh(parts.text.forward(t, pass));
    // sigmoid(x) = 1/2 + tanh(x / 2) / 2
    const Variable half = tanh(scale(parts.gate.forward(concatenate({i, t}, 1), pass), 0.5f));
    const Variable gate = add(scale(half, 0.5f), constant_vector(width, 0.5f, pass));
    const Variable fused = add(of_text, multiply(add(of_image, negate(of_text)), gate));
    return std::vector{fused, gate};
  };
  blocks.push_back({.name = name,
                    .reads = {image.name, text.name},
                    .writes = {{.name = kFused, .dims = {width}, .place = "batch"},
                               {.name = "gate", .dims = {width}, .place = "batch"}},
                    .forward_flops = flops,
                    .backward_flops = 2 * flops,
                    .make = [=](ParameterStore& store) -> std::unique_ptr<Block> {
                      return make_block(
                          Gate{Linear(store, name + ".image", width, width),
                               Linear(store, name + ".text", width, width), Linear(store, name, 2 * width, width)},
                          forward);
                    }});
}

void append_cross_attention(std::vector<BlockSpec>& blocks, const Slot& image, const Slot& text,
                            const FusionConfig& config) {
  const auto attending_to = [&](const Slot& other, const std::string& memory) {
    return StackOptions{.dropout = config.dropout,
                        .memory = memory,
                        .memory_width = config.sizes.width,
                        .memory_sequence = other.dims[0]};
  };
  if (!config.both_ways) {
    StackOptions of_text = attending_to(image, image.name);
    of_text.lengths = kLengths;
    append_stack(blocks, "fusion.text", text, config.sizes, of_text);
    append_pool(blocks, text, 0, std::nullopt, config.sizes);
    return;
  }
  StackOptions of_text = attending_to(image, "seen_image"), of_image = attending_to(text, "seen_text");
  of_text.lengths = of_image.memory_lengths = kLengths;
  for (int64_t i = 0; i < config.sizes.layers; ++i) {
    append_memory(blocks, fmt::format("fusion.image_memory.{}", i), image, of_text.memory, config.sizes);
    append_block(blocks, "fusion.text", i, text, config.sizes, of_text);
    append_memory(blocks, fmt::format("fusion.text_memory.{}", i), text, of_image.memory, config.sizes);
    append_block(blocks, "fusion.image", i, image, config.sizes, of_image);
  }
  append_pool(blocks, text, 0, image, config.sizes);
}

}  // namespace

std::string_view fusion_name(FusionKind kind) {
  switch (kind) {
    case FusionKind::kConcatenation:
      return "concatenation";
    case FusionKind::kGated:
      return "gated";
    case FusionKind::kCrossAttention:
      return "cross_attention";
  }
  throw InternalError("fusion", "no such kind");
}

std::string FusionConfig::to_string() const {
  if (kind == FusionKind::kGated) return fmt::format("gated width={}", sizes.width);
  const std::string ways = kind == FusionKind::kCrossAttention ? fmt::format(" both_ways={}", both_ways) : "";
  return fmt::format("{}{} {}", fusion_name(kind), ways, sizes.to_string());
}

void append_fusion(std::vector<BlockSpec>& blocks, const Slot& image, const Slot& text, const FusionConfig& config) {
  const Slot from_image = append_entry(blocks, "image", image, config);
  const Slot from_text = append_entry(blocks, "text", text, config);
  if (config.kind == FusionKind::kConcatenation) append_concatenation(blocks, from_image, from_text, config);
  if (config.kind == FusionKind::kGated) append_gate(blocks, from_image, from_text, config);
  if (config.kind == FusionKind::kCrossAttention) append_cross_attention(blocks, from_image, from_text, config);
}

Slot append_fused_tokens(std::vector<BlockSpec>& blocks, const Slot& image, const Slot& text,
                         const FusionConfig& config) {
  TRIPTYCH_CHECK(config.kind != FusionKind::kGated, "a gated fusion keeps no tokens of {}", text.name);
  const int64_t before = image.dims[0], length = text.dims[0];
  const Slot stream{.name = "fusion_text", .dims = {length, config.sizes.width}};
  if (config.kind == FusionKind::kCrossAttention) return stream;
  const Slot tokens{.name = "fused_text", .dims = stream.dims, .place = "batch"};
  const auto forward = [=](int, std::span<const Variable> inputs, const Fields&, const Pass& pass) {
    return slice(pass.laid_out(inputs[0], "batch"), 1, before, length);
  };
  blocks.push_back(
      {.name = "fusion.text_tokens", .reads = {"fusion"}, .writes = {tokens}, .make = [=](ParameterStore&) {
         return make_block(0, forward);
       }});
  return tokens;
}

}  // namespace triptych::models
