#include "data/field_sources.h"
#include "models/captioner.h"
#include "objectives/cross_entropy.h"
#include "tasks/caption_results.h"
#include "tasks/explain.h"
#include "tasks/model_config.h"
#include "tasks/probe.h"
#include "tasks/results.h"
#include "tasks/standard_tasks.h"

namespace triptych::tasks {
namespace {

/// An encoder-decoder that learns to write a picture's captions, word after word, with the true ones before it.
class CaptionTask : public Task {
 public:
  CaptionTask(ConfigReader& reader, const MeshShape& mesh) {
    read_dropout(reader, model_.image.dropout);
    model_.text.dropout = model_.image.dropout;
    read_image_encoder(reader, model_.image, false, mesh);
    bool has_class_token = false;
    reader.read(
        "model.image.class_token", has_class_token,
        "Whether a token of its own stands in front of the patches, which the decoder attends to as well: as in "
        "published encoders.");
    if (has_class_token) model_.image.pooling = ImageEncoderConfig::Pooling::kClassToken;
    read_text_stack(reader, "model.text", model_.text, false, mesh);
    read_label_smoothing(reader, smoothing_, "tokens");
    read_decoding(reader, decoding_);
    read_augmentation(reader, augment_);
    decoding_.text_length = model_.text.length;
  }

  ModelSpec model() const override { return captioner(model_); }
  std::vector<ObjectiveSpec> objectives() const override {
    return {cross_entropy_objective({.name = "caption",
                                     .slot = "logits",
                                     .field = "targets",
                                     .needs = {"image_present"},
                                     .label_smoothing = smoothing_})};
  }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer> tokenizer) const override {
    return {pixels_field(model_.image.size, augment_),
            text_fields(std::move(tokenizer), model_.text.length, model_.text.vocabulary, {.targets = true}),
            presence_fields()};
  }
  int64_t vocabulary() const override { return model_.text.vocabulary; }
  void check_data(const Dataset& dataset) const override { require_parts(dataset, kPairs, "captioning"); }
  void check_evaluation_set(const Dataset& dataset) const override { check_data(dataset); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override {
    const FieldSource pixels = pixels_field(model_.image.size, augment_);
    return caption_results(inference, inputs, std::span(&pixels, 1), decoding_, {*this, inference, inputs});
  }
  std::optional<FeatureSlot> features() const override { return image_features(model_.image); }
  bool can_explain() const override { return true; }
  Explanation explain(Inference& inference, const ExplainInputs& inputs) const override {
    const ExplainedModel model{
        .image = model_.image, .picture = augment_.picture, .decoder = "text", .text_length = model_.text.length};
    return explain_image(inference, inputs, model, [&](const Fields& fields) {
      return write_caption(inference, fields, *inputs.tokenizer, decoding_);
    });
  }

 private:
  CaptionerConfig model_;
  double smoothing_ = 0.1;
  CaptionOptions decoding_;
  AugmentOptions augment_;
};

}  // namespace

std::unique_ptr<Task> read_caption_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<CaptionTask>(reader, mesh);
}

}  // namespace triptych::tasks
