#include "nn/embeddings.h"

#include "kernels/patchify.h"
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

Tensor image_patches(const Tensor& pixels, int64_t patch, const PixelScale& scale, DType dtype) {
  const int64_t batch = pixels.size(0), size = pixels.size(1), across = size / patch;
  Tensor patches = Tensor::empty(pixels.device(), dtype, Shape{batch, across * across, 3 * patch * patch});
  patchify(pixels.device().stream(), {.pixels = pixels.data<uint8_t>(),
                                      .patches = patches.raw(),
                                      .batch = batch,
                                      .image_size = size,
                                      .patch_size = patch,
                                      .mean = scale.mean,
                                      .std = scale.std,
                                      .dtype = dtype});
  return patches;
}

PatchEmbedding::PatchEmbedding(ParameterStore& store, const std::string& name, const Config& config)
    : config_(config),
      weight_(&store.create(name + ".patch.weight", Shape{config.width, 3 * config.patch * config.patch},
                            "patch.weight", linear_matrix(3 * config.patch * config.patch))),
      bias_(config.bias ? &store.create(name + ".patch.bias", Shape{config.width}, "patch.bias", {}) : nullptr),
      class_token_(config.class_token ? &store.create(name + ".class_token", Shape{config.width}, "class_token",
                                                      {.standard_deviation = kSmall, .decay = true})
                                      : nullptr),
      positions_(store, name, config.positions, config.grid(), config.width),
      norm_(store, name + ".norm", config.width, config.norm) {}

Variable PatchEmbedding::embed(const Variable& patches, const Pass& pass) const {
  return linear(patches, pass.use(*weight_), pass.use(bias_), pass.dtype);
}

Variable PatchEmbedding::forward(const Tensor& pixels, const Pass& pass) const {
  Variable x = embed(pass.rows(image_patches(pixels, config_.patch, config_.scale, pass.dtype)), pass);
  if (class_token_ != nullptr) x = prepend_token(x, pass.use(*class_token_));
  return norm_.forward(positions_.add_to(x, pass), pass);
}

SegmentTable::SegmentTable(ParameterStore& store, const std::string& name, int64_t num_segments, int64_t width)
    : table_(&store.create(name + ".segments", Shape{num_segments, width}, "segments",
                           {.standard_deviation = kSmall, .decay = true})),
      width_(width) {}

Variable SegmentTable::add_one(const Variable& x, int64_t segment, const Pass& pass) const {
  const Variable row = reshape(slice(pass.use(*table_), 0, segment, 1), Shape{width_});
  return add(pass.laid_out(x, "stream"), row);
}

Variable SegmentTable::add_each(const Variable& x, const Tensor& segments, const Pass& pass) const {
  const Variable rows = embedding(pass.tokens(segments), pass.use(*table_), pass.mesh);
  return add(pass.laid_out(x, "stream"), pass.laid_out(rows, "stream"));
}

// Positions are those of the sample's patches, so they come before the class token, which brings its own.
Variable PatchEmbedding::forward_visible(const Tensor& pixels, const Tensor& visible, const Pass& pass) const {
  const Variable patches = pass.rows(image_patches(pixels, config_.patch, config_.scale, pass.dtype));
  const Variable chosen = pass.rows(visible);
  const Variable positions = positions_.all(pass);
  const int64_t first = class_token_ != nullptr ? 1 : 0;
  Variable x = embed(gather(patches, chosen), pass);
  if (positions.defined()) {
    x = add(x, embedding(chosen, slice(positions, 0, first, config_.num_patches()), pass.mesh));
  }
  if (class_token_ != nullptr) {
    Variable token = pass.use(*class_token_);
    if (positions.defined()) token = add(token, reshape(slice(positions, 0, 0, 1), Shape{config_.width}));
    x = prepend_token(x, token);
  }
  return norm_.forward(pass.laid_out(x, "stream"), pass);
}

TokenTable::TokenTable(ParameterStore& store, const std::string& name, int64_t vocabulary, int64_t width, bool is_tied)
    : table_(
          &store.create(name + ".tokens.weight", Shape{vocabulary, width}, "tokens.weight",
                        {.standard_deviation = kSmall, .decay = true, .in_compute_dtype = true, .is_tied = is_tied})) {}

Variable TokenTable::embed(const Tensor& ids, const Pass& pass) const {
  return embedding(pass.tokens(ids), pass.use(*table_), pass.mesh);
}

Variable TokenTable::logits(const Variable& x, const Pass& pass, const Variable& bias) const {
  return linear(x, pass.use(*table_), bias, pass.dtype);
}

}  // namespace triptych::nn
