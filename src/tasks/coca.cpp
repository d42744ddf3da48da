#include "models/coca.h"

#include "data/field_sources.h"
#include "objectives/cross_entropy.h"
#include "tasks/caption_results.h"
#include "tasks/explain.h"
#include "tasks/model_config.h"
#include "tasks/probe.h"
#include "tasks/results.h"
#include "tasks/retrieval_results.h"
#include "tasks/standard_tasks.h"

namespace triptych::tasks {
namespace {

/// Contrastive and captioning losses together, on one model: Yu et al. 2022, CoCa.
class CocaTask : public Task {
 public:
  CocaTask(ConfigReader& reader, const MeshShape& mesh) {
    read_embedding(reader, model_.embedding);
    read_dropout(reader, model_.image.dropout);
    model_.text.dropout = model_.image.dropout;
    read_image_encoder(reader, model_.image, false, mesh);
    reader.read("model.pool_queries", model_.pool_queries, "Tokens that stand for the image in the decoder.")
        .at_least(1)
        .at_most(65536);
    read_text_stack(reader, "model.text", model_.text, false, mesh);
    reader
        .read("model.multimodal_layers", model_.multimodal_layers,
              "Decoder blocks that attend to the image, on top of model.text.layers that do not.")
        .at_least(1)
        .at_most(1024);
    read_contrastive(reader, contrastive_);
    read_loss_weight(reader, "contrastive", contrastive_weight_);
    read_loss_weight(reader, "caption", caption_weight_);
    read_decoding(reader, decoding_);
    read_zero_shot(reader, zero_shot_);
    zero_shot_.text_length = model_.text.length;
    read_augmentation(reader, augment_);
    decoding_.text_length = model_.text.length;
  }

  ModelSpec model() const override { return coca(model_); }
  std::vector<ObjectiveSpec> objectives() const override {
    return {contrastive_objective(contrastive_, contrastive_weight_),
            cross_entropy_objective({.name = "caption",
                                     .slot = "logits",
                                     .field = "targets",
                                     .needs = {"image_present"},
                                     .weight = caption_weight_})};
  }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer> tokenizer) const override {
    return {pixels_field(model_.image.size, augment_),
            text_fields(std::move(tokenizer), model_.text.length, model_.text.vocabulary, {.targets = true}),
            presence_fields()};
  }
  int64_t vocabulary() const override { return model_.text.vocabulary; }
  void check_data(const Dataset& dataset) const override { require_parts(dataset, kPairs, "contrastive learning", 2); }
  void check_evaluation_set(const Dataset& dataset) const override { check_pairs_or_classes(dataset, zero_shot_); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override {
    EvaluationResults results = alignment_results(inference, inputs, fields(inputs.tokenizer), zero_shot_);
    const FieldSource pixels = pixels_field(model_.image.size, augment_);
    EvaluationInputs pairs = inputs;
    pairs.sets = sets_with_pairs(inputs.sets);
    if (pairs.sets.empty()) return results;
    append_results(results,
                   caption_results(inference, pairs, std::span(&pixels, 1), decoding_, {*this, inference, inputs}));
    return results;
  }
  std::optional<FeatureSlot> features() const override { return image_features(model_.image); }
  bool can_explain() const override { return true; }
  Explanation explain(Inference& inference, const ExplainInputs& inputs) const override {
    const ExplainedModel model{.image = model_.image,
                               .picture = augment_.picture,
                               .pool = "image.head.pool",
                               .has_embeddings = true,
                               .decoder = "multimodal",
                               .decoder_pool = "image.pool",
                               .text_length = model_.text.length};
    return explain_image(inference, inputs, model, [&](const Fields& fields) {
      return write_caption(inference, fields, *inputs.tokenizer, decoding_);
    });
  }
  std::optional<SharedSpace> shared_space() const override {
    return SharedSpace{.image_size = model_.image.size, .text_length = model_.text.length, .picture = augment_.picture};
  }

 private:
  CocaConfig model_;
  ContrastiveConfig contrastive_;
  double contrastive_weight_ = 1, caption_weight_ = 2;
  CaptionOptions decoding_;
  ZeroShotOptions zero_shot_;
  AugmentOptions augment_;
};

}  // namespace

std::unique_ptr<Task> read_coca_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<CocaTask>(reader, mesh);
}

}  // namespace triptych::tasks
