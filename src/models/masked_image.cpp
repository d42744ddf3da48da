#include "models/masked_image.h"

#include <cmath>

#include "ops/concatenate.h"
#include "ops/embedding.h"
#include "ops/gather.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/scale.h"
#include "ops/slice.h"

namespace triptych::models {
namespace {

constexpr const char* kEncoded = "encoded";  // the encoder's sequence behind its last norm
constexpr float kSmall = 0.02f;              // the standard deviation of initial values
constexpr float kVarianceFloor = 1e-6f;

// Where the decoder's sequence has its patches: behind the class token, if there is one.
int64_t first_patch(const ImageEncoderConfig& image) {
  return image.embedding().class_token ? 1 : 0;
}

Slot decoder_slot(const MaskedImageConfig& config) {
  return {.name = "decoder", .dims = {config.image.embedding().grid().sequence, config.decoder.width}};
}

struct DecoderEmbedding {
  Parameter *weight, *bias, *mask_token;
  Positions positions;
  OptionalNorm norm;
};

DecoderEmbedding make_embedding(ParameterStore& store, const MaskedImageConfig& config) {
  const std::string name = "decoder.embed";
  const int64_t from = config.image.sizes.width, to = config.decoder.width;
  return {&store.create(name + ".weight", Shape{to, from}, "replicated", linear_matrix(from)),
          &store.create(name + ".bias", Shape{to}, "replicated", {}),
          &store.create(name + ".mask_token", Shape{to}, "replicated", {.standard_deviation = kSmall, .decay = true}),
          Positions(store, name, config.decoder.positions, config.image.embedding().grid(), to),
          OptionalNorm(store, name + ".norm", to, config.decoder.first_norm())};
}

// From what the encoder saw to the whole image's sequence.
void append_decoder_embedding(std::vector<BlockSpec>& blocks, const MaskedImageConfig& config) {
  const int64_t first = first_patch(config.image);
  const double flops =
      ProjectionHead::forward_flops(config.image.sizes.width, config.decoder.width * config.image.sequence());
  const auto forward = [first](const DecoderEmbedding& parts, std::span<const Variable> inputs, const Fields& fields,
                               const Pass& pass) {
    const Variable seen = linear(inputs[0], pass.use(*parts.weight), pass.use(*parts.bias), pass.dtype);
    const Variable patches = slice(seen, 1, first, seen.global_shape()[1] - first);
    // patch_sources counts the mask token as number 0.
    Variable all = gather(prepend_token(patches, pass.use(*parts.mask_token)), pass.rows(fields["patch_sources"]));
    if (first > 0) all = concatenate({slice(seen, 1, 0, first), all}, 1);
    return parts.norm.forward(parts.positions.add_to(all, pass), pass);
  };
  blocks.push_back({.name = "decoder.embed",
                    .reads = {kEncoded},
                    .fields = {"patch_sources"},
                    .writes = {decoder_slot(config)},
                    .forward_flops = flops,
                    .backward_flops = 2 * flops,
                    .num_inputs = [tokens = config.image.sequence()](const std::string&) { return tokens; },
                    .make = [=](ParameterStore& store) { return make_block(make_embedding(store, config), forward); }});
}

struct DecoderOutput {
  OptionalNorm norm;
  Parameter *weight, *bias;
};

void append_decoder_output(std::vector<BlockSpec>& blocks, const MaskedImageConfig& config) {
  const int64_t first = first_patch(config.image), width = config.decoder.width;
  const int64_t num_patches = config.image.embedding().num_patches();
  const int64_t num_values = 3 * config.image.patch * config.image.patch;
  const double flops = ProjectionHead::forward_flops(width, num_values * num_patches);
  const auto forward = [=](const DecoderOutput& parts, std::span<const Variable> inputs, const Fields&,
                           const Pass& pass) {
    const Variable x = pass.laid_out(parts.norm.forward(inputs[0], pass), "batch");
    return linear(slice(x, 1, first, num_patches), pass.use(*parts.weight), pass.use(*parts.bias), DType::kFloat32);
  };
  blocks.push_back(
      {.name = "decoder.output",
       .reads = {decoder_slot(config).name},
       .writes =
           {{.name = "reconstruction", .dims = {num_patches, num_values}, .place = "batch", .dtype = DType::kFloat32}},
       .forward_flops = flops,
       .backward_flops = 2 * flops,
       .make = [=](ParameterStore& store) {
         return make_block(
             DecoderOutput{
                 OptionalNorm(store, "decoder.output.norm", width, config.decoder.last_norm()),
                 &store.create(
                     "decoder.output.weight", Shape{num_values, width}, "replicated",
                     {.standard_deviation = kSmall, .decay = true, .in_compute_dtype = true, .is_linear = true}),
                 &store.create("decoder.output.bias", Shape{num_values}, "replicated", {})},
             forward);
       }});
}

}  // namespace

ModelSpec masked_image(const MaskedImageConfig& config) {
  ModelSpec model;
  append_image_encoder(model.blocks, config.image);
  append_image_memory(model.blocks, config.image, kEncoded);
  append_decoder_embedding(model.blocks, config);
  append_stack(model.blocks, "decoder", decoder_slot(config), config.decoder,
               {.dropout = config.image.dropout, .grid_side = config.image.embedding().grid().side});
  append_decoder_output(model.blocks, config);
  model.fingerprint =
      fmt::format("masked_image image({}) decoder({})", config.image.to_string(), config.decoder.to_string());
  return model;
}

Variable patch_targets(const Tensor& pixels, const Variable& masked_patches, int64_t patch,
                       const PixelScale& pixel_scale, bool normalize, float factor, const Pass& pass) {
  const Variable patches =
      gather(pass.rows(image_patches(pixels, patch, pixel_scale, DType::kFloat32)), masked_patches);
  if (!normalize) return scale(patches, factor);
  // A layer norm divides by the root of the variance with N of N values: its part of the one with N - 1 goes into its
  // weight and its floor.
  const int64_t size = patches.global_shape().back();
  const double share = static_cast<double>(size - 1) / static_cast<double>(size);
  return layer_norm(patches, constant_vector(size, factor * static_cast<float>(std::sqrt(share)), pass),
                    constant_vector(size, 0, pass), static_cast<float>(share) * kVarianceFloor);
}

}  // namespace triptych::models
