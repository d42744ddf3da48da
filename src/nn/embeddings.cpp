#include "nn/embeddings.h"

#include <cmath>

#include "kernels/patchify.h"
#include "nn/decoding.h"
#include "ops/add.h"
#include "ops/embedding.h"
#include "ops/gather.h"
#include "ops/linear.h"
#include "ops/reshape.h"
#include "ops/slice.h"

namespace triptych::nn {
namespace {

constexpr float kSmall = 0.02f;  // the standard deviation of what is added to or stands in a sequence

}  // namespace

Tensor image_patches(const Tensor& pixels, int64_t patch, DType dtype) {
  const int64_t batch = pixels.size(0), size = pixels.size(1), across = size / patch;
  Tensor patches = Tensor::empty(pixels.device(), dtype, Shape{batch, across * across, 3 * patch * patch});
  patchify(pixels.device().stream(), {.pixels = pixels.data<uint8_t>(),
                                      .patches = patches.raw(),
                                      .batch = batch,
                                      .image_size = size,
                                      .patch_size = patch,
                                      .mean = kPixelMean,
                                      .std = kPixelStd,
                                      .dtype = dtype});
  return patches;
}

LearnedPositions::LearnedPositions(ParameterStore& store, const std::string& name, int64_t sequence, int64_t width)
    : positions_(&store.create(name + ".positions", Shape{sequence, width}, "positions",
                               {.standard_deviation = kSmall, .decay = true})) {}

Variable LearnedPositions::add_to(const Variable& x, const Pass& pass) const {
  if (pass.cache == nullptr) return add_positions(pass.laid_out(x, "stream"), pass.use(*positions_));
  const Variable one = slice(all(pass), 0, pass.cache->position(), 1);
  return pass.laid_out(add_positions(pass.laid_out(x, "batch"), one), "stream");
}

Variable LearnedPositions::all(const Pass& pass) const {
  return pass.laid_out(pass.use(*positions_), "replicated");
}

PatchEmbedding::PatchEmbedding(ParameterStore& store, const std::string& name, const Config& config)
    : config_(config),
      weight_(&store.create(name + ".patch.weight", Shape{config.width, 3 * config.patch * config.patch},
                            "patch.weight",
                            {.standard_deviation = 1 / std::sqrt(static_cast<float>(3 * config.patch * config.patch)),
                             .decay = true,
                             .in_compute_dtype = true})),
      bias_(&store.create(name + ".patch.bias", Shape{config.width}, "patch.bias", {})),
      class_token_(config.class_token ? &store.create(name + ".class_token", Shape{config.width}, "class_token",
                                                      {.standard_deviation = kSmall, .decay = true})
                                      : nullptr),
      positions_(store, name, config.num_patches() + (config.class_token ? 1 : 0), config.width) {}

Variable PatchEmbedding::forward(const Tensor& pixels, const Pass& pass) const {
  const Variable patches = pass.rows(image_patches(pixels, config_.patch, pass.dtype));
  Variable x = linear(patches, pass.use(*weight_), pass.use(*bias_), pass.dtype);
  if (class_token_ != nullptr) x = prepend_token(x, pass.use(*class_token_));
  return positions_.add_to(x, pass);
}

// Positions are those of the sample's patches, so they come before the class token, which brings its own.
Variable PatchEmbedding::forward_visible(const Tensor& pixels, const Tensor& visible, const Pass& pass) const {
  const Variable patches = pass.rows(image_patches(pixels, config_.patch, pass.dtype)), chosen = pass.rows(visible);
  const Variable positions = positions_.all(pass);
  const int64_t first = class_token_ != nullptr ? 1 : 0;
  const Variable of_patches = slice(positions, 0, first, config_.num_patches());
  Variable x = linear(gather(patches, chosen), pass.use(*weight_), pass.use(*bias_), pass.dtype);
  x = add(x, embedding(chosen, of_patches, pass.mesh));
  if (class_token_ != nullptr) {
    const Variable own = reshape(slice(positions, 0, 0, 1), Shape{config_.width});
    x = prepend_token(x, add(pass.use(*class_token_), own));
  }
  return pass.laid_out(x, "stream");
}

TokenTable::TokenTable(ParameterStore& store, const std::string& name, int64_t vocabulary, int64_t width, bool is_tied)
    : table_(
          &store.create(name + ".tokens.weight", Shape{vocabulary, width}, "tokens.weight",
                        {.standard_deviation = kSmall, .decay = true, .in_compute_dtype = true, .is_tied = is_tied})) {}

Variable TokenTable::embed(const Tensor& ids, const Pass& pass) const {
  return embedding(pass.rows(ids), pass.use(*table_), pass.mesh);
}

Variable TokenTable::logits(const Variable& x, const Pass& pass, const Variable& bias) const {
  return linear(x, pass.use(*table_), bias, pass.dtype);
}

}  // namespace triptych::nn
