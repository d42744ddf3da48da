#include "nn/embeddings.h"

#include <cmath>

#include "kernels/patchify.h"
#include "nn/decoding.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/slice.h"

namespace triptych::nn {
namespace {

// Of the images that CLIP was trained on; what matters is that the network's input is near zero mean, unit variance.
constexpr std::array<float, 3> kPixelMean{0.48145466f, 0.4578275f, 0.40821073f};
constexpr std::array<float, 3> kPixelStd{0.26862954f, 0.26130258f, 0.27577711f};

constexpr float kSmall = 0.02f;  // the standard deviation of what is added to or stands in a sequence

}  // namespace

LearnedPositions::LearnedPositions(ParameterStore& store, const std::string& name, int64_t sequence, int64_t width)
    : positions_(&store.create(name + ".positions", Shape{sequence, width}, "positions",
                               {.standard_deviation = kSmall, .decay = true})) {}

Variable LearnedPositions::add_to(const Variable& x, const Pass& pass) const {
  if (pass.cache == nullptr) return add_positions(pass.laid_out(x, "stream"), pass.use(*positions_));
  const Variable one = slice(pass.laid_out(pass.use(*positions_), "replicated"), 0, pass.cache->position(), 1);
  return pass.laid_out(add_positions(pass.laid_out(x, "batch"), one), "stream");
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
      positions_(store, name, config.sequence(), config.width) {}

Variable PatchEmbedding::forward(const Tensor& pixels, const Pass& pass) const {
  const int64_t batch = pixels.size(0);
  const Tensor patches =
      Tensor::empty(pass.device, pass.dtype, Shape{batch, config_.num_patches(), 3 * config_.patch * config_.patch});
  patchify(pass.device.stream(), {.pixels = pixels.data<uint8_t>(),
                                  .patches = patches.raw(),
                                  .batch = batch,
                                  .image_size = config_.size,
                                  .patch_size = config_.patch,
                                  .mean = kPixelMean,
                                  .std = kPixelStd,
                                  .dtype = pass.dtype});
  Variable x = linear(pass.rows(patches), pass.use(*weight_), pass.use(*bias_), pass.dtype);
  if (class_token_ != nullptr) x = prepend_token(x, pass.use(*class_token_));
  return positions_.add_to(x, pass);
}

TokenTable::TokenTable(ParameterStore& store, const std::string& name, int64_t vocabulary, int64_t width, bool is_tied)
    : table_(
          &store.create(name + ".tokens.weight", Shape{vocabulary, width}, "tokens.weight",
                        {.standard_deviation = kSmall, .decay = true, .in_compute_dtype = true, .is_tied = is_tied})) {}

Variable TokenTable::embed(const Tensor& ids, const Pass& pass) const {
  return embedding(pass.rows(ids), pass.use(*table_), pass.mesh);
}

Variable TokenTable::logits(const Variable& x, const Pass& pass) const {
  return linear(x, pass.use(*table_), Variable(), pass.dtype);
}

}  // namespace triptych::nn
