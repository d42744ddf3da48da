#include "models/detector.h"

#include <vector>

#include "models/box_head.h"
#include "ops/broadcast.h"
#include "ops/linear.h"

namespace triptych::models {
namespace {

Slot decoder_slot(const DetectorConfig& config) {
  return {.name = "decoder", .dims = {config.num_queries, config.decoder.width}};
}

struct LearnedQueries {
  Parameter* queries;
  OptionalNorm norm;
};

void append_learned_queries(std::vector<BlockSpec>& blocks, const DetectorConfig& config) {
  // What is attended to tells how many images there are.
  const auto forward = [](const LearnedQueries& parts, std::span<const Variable> inputs, const Fields&,
                          const Pass& pass) {
    const int64_t num_images = inputs[0].global_shape()[0];
    const Variable queries = broadcast(pass.use(*parts.queries), num_images, pass.layout("batch"), pass.mesh);
    return parts.norm.forward(pass.laid_out(queries, "stream"), pass);
  };
  blocks.push_back(
      {.name = "decoder.embed",
       .reads = {"memory"},
       .writes = {decoder_slot(config)},
       .make = [=](ParameterStore& store) {
         const int64_t width = config.decoder.width;
         return make_block(
             LearnedQueries{&store.create("decoder.embed.queries", Shape{config.num_queries, width}, "replicated",
                                          {.standard_deviation = 1, .in_compute_dtype = true}),
                            OptionalNorm(store, "decoder.embed.norm", width, config.decoder.first_norm())},
             forward);
       }});
}

struct PatchQueries {
  Parameter *weight, *bias;
  OptionalNorm norm;
};

void append_patch_queries(std::vector<BlockSpec>& blocks, const DetectorConfig& config) {
  const int64_t width = config.decoder.width, inputs = config.image.sizes.width;
  const double flops = 2.0 * static_cast<double>(config.num_queries * width * inputs);
  const auto forward = [](const PatchQueries& parts, std::span<const Variable> memory, const Fields&,
                          const Pass& pass) {
    const Variable queries =
        linear(pass.laid_out(memory[0], "batch"), pass.use(*parts.weight), pass.use(*parts.bias), pass.dtype);
    return parts.norm.forward(pass.laid_out(queries, "stream"), pass);
  };
  blocks.push_back({.name = "decoder.embed",
                    .reads = {"memory"},
                    .writes = {decoder_slot(config)},
                    .forward_flops = flops,
                    .backward_flops = 2 * flops,
                    .make = [=](ParameterStore& store) {
                      return make_block(
                          PatchQueries{&store.create("decoder.embed.weight", Shape{width, inputs}, "replicated",
                                                     linear_matrix(inputs)),
                                       &store.create("decoder.embed.bias", Shape{width}, "replicated", {}),
                                       OptionalNorm(store, "decoder.embed.norm", width, config.decoder.first_norm())},
                          forward);
                    }});
}

struct DetectionHead {
  OptionalNorm norm;
  Parameter *class_weight, *class_bias;
  BoxHead boxes;
  Parameter* learned_places;  // null: those of the patches
  Tensor patch_places;

  Variable places(const Pass& pass) const {
    if (learned_places != nullptr) return pass.use(*learned_places);
    return Variable::constant(patch_places, patch_places.shape(), Layout());
  }
};

DetectionHead make_head(ParameterStore& store, const DetectorConfig& config) {
  const std::string name = "detect.head";
  const int64_t width = config.decoder.width, outputs = config.num_classes + 1;
  DetectionHead head{OptionalNorm(store, name + ".norm", width, config.decoder.last_norm()),
                     &store.create(name + ".class.weight", Shape{outputs, width}, "replicated", linear_matrix(width)),
                     &store.create(name + ".class.bias", Shape{outputs}, "replicated", {}),
                     BoxHead(store, name + ".box", width),
                     nullptr,
                     {}};
  if (config.queries == DetectorConfig::Queries::kLearned) {
    head.learned_places =
        &store.create(name + ".places", Shape{config.num_queries, 4}, "replicated", {.standard_deviation = 1});
  } else {
    head.patch_places = patch_places(store.device(), config.image.size / config.image.patch);
  }
  return head;
}

void append_head(std::vector<BlockSpec>& blocks, const DetectorConfig& config) {
  const int64_t width = config.decoder.width, outputs = config.num_classes + 1, queries = config.num_queries;
  const double flops =
      static_cast<double>(queries) * (2.0 * static_cast<double>(width * outputs) + BoxHead::forward_flops(width));
  const auto forward = [](const DetectionHead& head, std::span<const Variable> inputs, const Fields&,
                          const Pass& pass) {
    const Variable x = pass.laid_out(head.norm.forward(inputs[0], pass), "batch");
    return std::vector{
        linear(x, pass.use(*head.class_weight), pass.use(*head.class_bias), DType::kFloat32),
        head.boxes.forward(x, head.places(pass), pass),
    };
  };
  blocks.push_back(
      {.name = "detect.head",
       .reads = {"decoder"},
       .writes = {{.name = "class_logits", .dims = {queries, outputs}, .place = "batch", .dtype = DType::kFloat32},
                  {.name = "boxes", .dims = {queries, 4}, .place = "batch", .dtype = DType::kFloat32}},
       .forward_flops = flops,
       .backward_flops = 2 * flops,
       .make = [=](ParameterStore& store) { return make_block(make_head(store, config), forward); }});
}

}  // namespace

ModelSpec detector(const DetectorConfig& config) {
  ModelSpec model;
  append_image_encoder(model.blocks, config.image);
  append_image_memory(model.blocks, config.image, "memory");
  if (config.queries == DetectorConfig::Queries::kPatches) {
    TRIPTYCH_CHECK(config.num_queries == config.image.sequence(), "{} queries of {} patches", config.num_queries,
                   config.image.sequence());
    append_patch_queries(model.blocks, config);
  } else {
    append_learned_queries(model.blocks, config);
  }
  append_stack(model.blocks, "decoder", decoder_slot(config), config.decoder,
               {.dropout = config.image.dropout,
                .memory = "memory",
                .memory_width = config.image.sizes.width,
                .memory_sequence = config.image.sequence()});
  append_head(model.blocks, config);
  const char* const kind = config.queries == DetectorConfig::Queries::kPatches ? " of patches" : "";
  model.fingerprint = fmt::format("detector queries={}{} classes={} image({}) decoder({})", config.num_queries, kind,
                                  config.num_classes, config.image.to_string(), config.decoder.to_string());
  return model;
}

}  // namespace triptych::models
