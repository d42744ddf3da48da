#include "models/detector.h"

#include "models/box_head.h"
#include "ops/broadcast.h"
#include "ops/linear.h"

namespace triptych::models {
namespace {

Slot decoder_slot(const DetectorConfig& config) {
  return {.name = "decoder", .dims = {config.num_queries, config.decoder.width}};
}

struct QueryEmbedding {
  Parameter* queries;
  OptionalNorm norm;
};

void append_queries(std::vector<BlockSpec>& blocks, const DetectorConfig& config) {
  // What is attended to tells how many images there are.
  const auto forward = [](const QueryEmbedding& parts, std::span<const Variable> inputs, const Fields&,
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
             QueryEmbedding{&store.create("decoder.embed.queries", Shape{config.num_queries, width}, "replicated",
                                          {.standard_deviation = 1, .in_compute_dtype = true}),
                            OptionalNorm(store, "decoder.embed.norm", width, config.decoder.first_norm())},
             forward);
       }});
}

struct DetectionHead {
  OptionalNorm norm;
  Parameter *class_weight, *class_bias;
  BoxHead boxes;
  Parameter* places;
};

DetectionHead make_head(ParameterStore& store, const DetectorConfig& config) {
  const std::string name = "detect.head";
  const int64_t width = config.decoder.width, outputs = config.num_classes + 1;
  return {OptionalNorm(store, name + ".norm", width, config.decoder.last_norm()),
          &store.create(name + ".class.weight", Shape{outputs, width}, "replicated", linear_matrix(width)),
          &store.create(name + ".class.bias", Shape{outputs}, "replicated", {}), BoxHead(store, name + ".box", width),
          &store.create(name + ".places", Shape{config.num_queries, 4}, "replicated", {.standard_deviation = 1})};
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
        head.boxes.forward(x, pass.use(*head.places), pass),
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
  append_queries(model.blocks, config);
  append_stack(model.blocks, "decoder", decoder_slot(config), config.decoder,
               {.dropout = config.image.dropout,
                .memory = "memory",
                .memory_width = config.image.sizes.width,
                .memory_sequence = config.image.sequence()});
  append_head(model.blocks, config);
  model.fingerprint = fmt::format("detector queries={} classes={} image({}) decoder({})", config.num_queries,
                                  config.num_classes, config.image.to_string(), config.decoder.to_string());
  return model;
}

}  // namespace triptych::models
