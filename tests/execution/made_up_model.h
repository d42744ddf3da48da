#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/philox.h"
#include "models/parts.h"
#include "nn/embeddings.h"
#include "objectives/contrastive.h"
#include "objectives/cross_entropy.h"
#include "ops/activation.h"
#include "ops/add.h"
#include "ops/linear.h"
#include "ops/multiply.h"
#include "ops/pooling.h"
#include "tensor/field.h"

namespace triptych::test {

// A model of no family, with all that blocks may do: several slots read and written, slots that are written again, one
// ("side") that passes through stages whose blocks do not know it, fields in the middle, a table that the first block
// and the last share, dropout.

inline constexpr int64_t kTokens = 5, kWidth = 6, kVocabulary = 10, kClasses = 3, kEmbedding = 4;

inline Parameter& made_up_weight(ParameterStore& store, const std::string& name, int64_t out, int64_t in) {
  return store.create(name, Shape{out, in}, "replicated", {.standard_deviation = 0.6f, .in_compute_dtype = true});
}

inline Variable product_with(const Variable& x, Parameter* weight, const Pass& pass, DType out) {
  return linear(x, pass.use(*weight), Variable(), out);
}

// a, side, "shift" -> a, b.
inline void append_mix(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& a, const Slot& b) {
  struct Parts {
    Parameter *wide, *narrow;
  };
  const auto forward = [](const Parts& parts, std::span<const Variable> in, const Fields& fields, const Pass& pass) {
    const Variable x = pass.laid_out(in[0], "batch");
    const Variable y = add(x, product_with(gelu(x), parts.wide, pass, pass.dtype));
    const Variable pooled = add(mean_tokens(x), pass.rows(fields["shift"]));
    const Variable z = multiply(gelu(product_with(pooled, parts.narrow, pass, pass.dtype)), in[1]);
    return std::vector<Variable>{pass.laid_out(y, "stream"), z};
  };
  BlockSpec& spec = blocks.emplace_back();
  spec.name = name;
  spec.reads = {a.name, "side"};
  spec.fields = {"shift"};
  spec.writes = {a, b};
  spec.forward_flops = spec.backward_flops = 2000;
  spec.make = [=](ParameterStore& store) {
    return make_block(Parts{&made_up_weight(store, name + ".wide", kWidth, kWidth),
                            &made_up_weight(store, name + ".narrow", kWidth, kWidth)},
                      forward);
  };
}

inline ModelSpec made_up_model() {
  const Slot a{.name = "a", .dims = {kTokens, kWidth}}, b{.name = "b", .dims = {kWidth}, .place = "batch"};
  const Slot side{.name = "side", .dims = {kWidth}, .place = "batch"};
  ModelSpec model;
  BlockSpec start;
  start.name = "start";
  start.fields = {"tokens"};
  start.writes = {a};
  start.forward_flops = start.backward_flops = 2000;
  start.make = [](ParameterStore& store) {
    return make_block(TokenTable(store, "shared", kVocabulary, kWidth, true),
                      [](const TokenTable& table, std::span<const Variable>, const Fields& fields, const Pass& pass) {
                        return pass.laid_out(table.embed(fields["tokens"], pass), "stream");
                      });
  };
  model.blocks.push_back(start);

  BlockSpec fork;
  fork.name = "fork";
  fork.reads = {"a"};
  fork.writes = {side};
  fork.forward_flops = fork.backward_flops = 2000;
  fork.make = [](ParameterStore& store) {
    return make_block(&made_up_weight(store, "fork.weight", kWidth, kWidth),
                      [](Parameter* weight, std::span<const Variable> in, const Fields&, const Pass& pass) {
                        return product_with(mean_tokens(pass.laid_out(in[0], "batch")), weight, pass, pass.dtype);
                      });
  };
  model.blocks.push_back(fork);
  const TransformerSizes sizes{.width = kWidth, .layers = 2, .heads = 2, .feed_forward = 10};
  append_stack(model.blocks, "body", a, sizes, {.causal = true, .dropout = 0.2f, .lengths = "lengths"});
  append_mix(model.blocks, "mix.0", a, b);
  append_mix(model.blocks, "mix.1", a, b);

  struct End {
    TokenTable table;
    Parameter *left, *right, *classes;
  };
  BlockSpec end;
  end.name = "end";
  end.reads = {"side", "a", "b"};
  end.writes = {{.name = "logits", .dims = {kTokens, kVocabulary}, .place = "logits"},
                {.name = "image_embedding", .dims = {kEmbedding}, .place = "batch", .dtype = DType::kFloat32},
                {.name = "text_embedding", .dims = {kEmbedding}, .place = "batch", .dtype = DType::kFloat32},
                {.name = "classes", .dims = {kClasses}, .place = "batch", .dtype = DType::kFloat32}};
  end.forward_flops = end.backward_flops = 2000;
  end.make = [](ParameterStore& store) {
    return make_block(End{TokenTable(store, "shared", kVocabulary, kWidth, true),
                          &made_up_weight(store, "end.left", kEmbedding, kWidth),
                          &made_up_weight(store, "end.right", kEmbedding, kWidth),
                          &made_up_weight(store, "end.classes", kClasses, kWidth)},
                      [](const End& parts, std::span<const Variable> in, const Fields&, const Pass& pass) {
                        return std::vector<Variable>{
                            parts.table.logits(pass.laid_out(in[1], "batch"), pass),
                            l2_normalize(product_with(in[2], parts.left, pass, DType::kFloat32)),
                            l2_normalize(product_with(in[0], parts.right, pass, DType::kFloat32)),
                            product_with(in[2], parts.classes, pass, DType::kFloat32)};
                      });
  };
  model.blocks.push_back(end);
  return model;
}

inline ObjectiveSpec next_token(double weight) {
  return cross_entropy_objective(
      {.name = "next", .slot = "logits", .field = "targets", .label_smoothing = 0.1, .weight = weight});
}
inline ObjectiveSpec classes(double weight) {
  return cross_entropy_objective({.name = "classes", .slot = "classes", .field = "label", .weight = weight});
}

/// The three kinds of losses, of samples that have what each needs.
inline std::vector<ObjectiveSpec> masked_objectives() {
  return {cross_entropy_objective(
              {.name = "next", .slot = "logits", .field = "targets", .needs = {"image_present"}, .weight = 0.7}),
          contrastive_objective({.initial_scale = 5, .needs = {"image_present", "text_present"}}, 0.4),
          cross_entropy_objective(
              {.name = "classes", .slot = "classes", .field = "label", .needs = {"text_present"}, .weight = 2})};
}

/// Which rows have something to learn, and their image and text.
enum class Targets {
  kRagged,      ///< some positions of most rows; a few rows and labels lack theirs
  kFirstThird,  ///< none of the later rows has any, nor an image
  kNone,
};

/// Rows [first, first + count) of a global batch of `total`.
inline Fields made_up_fields(Device& device, int64_t total, int64_t first, int64_t count,
                             Targets targets = Targets::kRagged) {
  std::vector<int32_t> tokens, lengths, next, label;
  std::vector<uint8_t> image, text;
  std::vector<float> shift;
  const auto random = [](const char* what, int64_t i, int64_t below) {
    return static_cast<int32_t>(philox_word(random_key(41, what, 0), static_cast<uint64_t>(i)) % below);
  };
  for (int64_t row = first; row < first + count; ++row) {
    const bool has_any =
        targets == Targets::kRagged ? row % 5 != 1 : targets == Targets::kFirstThird && row < total / 3;
    const int32_t length = 1 + random("length", row, kTokens);
    lengths.push_back(length);
    image.push_back(targets == Targets::kRagged ? row % 7 != 3 : has_any);
    text.push_back(row % 6 != 1);
    label.push_back(has_any && row % 4 != 2 ? random("label", row, kClasses) : -1);
    for (int64_t t = 0; t < kTokens; ++t) {
      tokens.push_back(random("token", row * kTokens + t, kVocabulary));
      next.push_back(has_any && t < length ? random("target", row * kTokens + t, kVocabulary) : -1);
    }
    for (int64_t h = 0; h < kWidth; ++h) {
      shift.push_back(
          static_cast<float>(philox_normal(random_key(42, "shift", 0), static_cast<uint64_t>(row * kWidth + h))));
    }
  }
  Fields fields(count);
  fields.set("tokens", Tensor::from<int32_t>(device, Shape{count, kTokens}, tokens));
  fields.set("targets", Tensor::from<int32_t>(device, Shape{count, kTokens}, next));
  fields.set("lengths", Tensor::from<int32_t>(device, Shape{count}, lengths));
  fields.set("label", Tensor::from<int32_t>(device, Shape{count}, label));
  fields.set("image_present", Tensor::from<uint8_t>(device, Shape{count}, image));
  fields.set("text_present", Tensor::from<uint8_t>(device, Shape{count}, text));
  fields.set("shift", Tensor::from<float>(device, Shape{count, kWidth}, shift));
  return fields;
}

}  // namespace triptych::test
