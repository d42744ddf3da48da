#include "data/field_sources.h"
#include "models/multimodal.h"
#include "objectives/cross_entropy.h"
#include "tasks/answer_results.h"
#include "tasks/explain.h"
#include "tasks/model_config.h"
#include "tasks/multimodal_config.h"
#include "tasks/probe.h"
#include "tasks/results.h"
#include "tasks/standard_tasks.h"

namespace triptych::tasks {
namespace {

constexpr PartChoice kNeeded{.images = true, .questions = true, .labels = true};

/// Visual question answering by choosing among the answers that there are: Antol et al. 2015.
class AnswerTask : public Task {
 public:
  AnswerTask(ConfigReader& reader, const MeshShape& mesh) {
    reader.read("model.answers", model_.num_answers, "Answers to choose from; labels are below.")
        .at_least(2)
        .at_most(1 << 20);
    read_multimodal(reader, model_.parts, mesh);
    read_label_smoothing(reader, smoothing_, "answers");
    read_augmentation(reader, augment_);
  }

  ModelSpec model() const override { return answerer(model_); }
  /// A sample without its image or its question is learned from too: a model that is to do with one of them must be.
  std::vector<ObjectiveSpec> objectives() const override {
    return {
        cross_entropy_objective({.name = "answer", .slot = "logits", .field = "label", .label_smoothing = smoothing_})};
  }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer> tokenizer) const override {
    return {pixels_field(model_.parts.image.size, augment_),
            text_fields(std::move(tokenizer), model_.parts.text.length, model_.parts.text.vocabulary),
            label_field(model_.num_answers), presence_fields()};
  }
  TextRole text_role() const override { return TextRole::kQuestion; }
  int64_t vocabulary() const override { return model_.parts.text.vocabulary; }
  void check_data(const Dataset& dataset) const override {
    require_parts(dataset, kNeeded, "question answering");
    require_labels_below(dataset, model_.num_answers, "model.answers");
  }
  void check_evaluation_set(const Dataset& dataset) const override { check_data(dataset); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override {
    const bool is_gated = model_.parts.fusion.kind == FusionKind::kGated;
    return answer_results(inference, inputs, fields(inputs.tokenizer),
                          {.gate = is_gated ? "gate" : "", .num_answers = model_.num_answers},
                          {*this, inference, inputs});
  }
  std::optional<FeatureSlot> features() const override { return image_features(model_.parts.image); }
  bool can_explain() const override { return true; }
  Explanation explain(Inference& inference, const ExplainInputs& inputs) const override {
    return explain_image(inference, inputs,
                         {.image = model_.parts.image,
                          .picture = augment_.picture,
                          .connector = model_.parts.connector,
                          .class_slot = "logits",
                          .class_word = "answer",
                          .fusion = model_.parts.fusion,
                          .text_length = model_.parts.text.length});
  }

 private:
  AnswererConfig model_;
  double smoothing_ = 0;
  AugmentOptions augment_;
};

}  // namespace

std::unique_ptr<Task> read_answer_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<AnswerTask>(reader, mesh);
}

}  // namespace triptych::tasks
