#include "models/classifier.h"

#include "ops/linear.h"

namespace triptych::models {
namespace {

// New classes have equal scores at first.
struct ClassHead {
  OptionalNorm norm;
  Parameter *weight, *bias;
};

ClassHead make_head(ParameterStore& store, int64_t width, const std::optional<NormConfig>& norm, int64_t num_classes) {
  return {OptionalNorm(store, "classify.head.norm", width, norm),
          &store.create("classify.head.weight", Shape{num_classes, width}, "replicated", linear_matrix(width, 0)),
          &store.create("classify.head.bias", Shape{num_classes}, "replicated", {})};
}

}  // namespace

ModelSpec classifier(const ClassifierConfig& config) {
  ModelSpec model;
  append_image_encoder(model.blocks, config.image);
  const PooledImage pooled = append_image_pool(model.blocks, config.image);
  const int64_t width = config.image.sizes.width, num_classes = config.num_classes;
  const double flops = ProjectionHead::forward_flops(width, num_classes);
  const auto forward = [pooling = config.image.pooling](const ClassHead& head, std::span<const Variable> inputs,
                                                        const Fields&, const Pass& pass) {
    const Variable x = head.norm.forward(pool_image(inputs[0], pooling, pass), pass);
    return linear(x, pass.use(*head.weight), pass.use(*head.bias), DType::kFloat32);
  };
  model.blocks.push_back(
      {.name = "classify.head",
       .reads = {pooled.slot},
       .writes = {{.name = "logits", .dims = {num_classes}, .place = "batch", .dtype = DType::kFloat32}},
       .forward_flops = flops,
       .backward_flops = 2 * flops,
       .make = [=, norm = pooled.norm](ParameterStore& store) {
         return make_block(make_head(store, width, norm, num_classes), forward);
       }});
  model.fingerprint = fmt::format("classifier classes={} image({})", num_classes, config.image.to_string());
  return model;
}

}  // namespace triptych::models
