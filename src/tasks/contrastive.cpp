#include "data/field_sources.h"
#include "models/two_tower.h"
#include "tasks/explain.h"
#include "tasks/model_config.h"
#include "tasks/probe.h"
#include "tasks/results.h"
#include "tasks/retrieval_results.h"
#include "tasks/standard_tasks.h"

namespace triptych::tasks {
namespace {

/// Two towers whose embeddings of a pair meet: Radford et al. 2021, CLIP; Zhai et al. 2023, SigLIP.
class ContrastiveTask : public Task {
 public:
  ContrastiveTask(ConfigReader& reader, const MeshShape& mesh) {
    read_embedding(reader, model_.embedding);
    read_dropout(reader, model_.image.dropout);
    model_.text.dropout = model_.image.dropout;
    read_image_encoder(reader, model_.image, true, mesh);
    read_text_stack(reader, "model.text", model_.text, true, mesh);
    read_contrastive(reader, objective_);
    read_zero_shot(reader, zero_shot_);
    zero_shot_.text_length = model_.text.length;
    read_augmentation(reader, augment_);
  }

  ModelSpec model() const override { return two_tower(model_); }
  std::vector<ObjectiveSpec> objectives() const override { return {contrastive_objective(objective_)}; }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer> tokenizer) const override {
    return {pixels_field(model_.image.size, augment_),
            text_fields(std::move(tokenizer), model_.text.length, model_.text.vocabulary), presence_fields()};
  }
  int64_t vocabulary() const override { return model_.text.vocabulary; }
  void check_data(const Dataset& dataset) const override { require_parts(dataset, kPairs, "contrastive learning", 2); }
  void check_evaluation_set(const Dataset& dataset) const override { check_pairs_or_classes(dataset, zero_shot_); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override {
    return alignment_results(inference, inputs, fields(inputs.tokenizer), zero_shot_);
  }
  std::optional<FeatureSlot> features() const override { return image_features(model_.image); }
  bool can_explain() const override { return true; }
  Explanation explain(Inference& inference, const ExplainInputs& inputs) const override {
    return explain_image(inference, inputs,
                         {.image = model_.image,
                          .pool = pool_attention(model_.image),
                          .has_embeddings = true,
                          .text_length = model_.text.length});
  }
  bool can_search() const override { return true; }
  std::vector<SearchHit> search(Inference& inference, const SearchQuery& query) const override {
    return search_images(inference, query, fields(query.tokenizer), model_.text.length);
  }

 private:
  TwoTowerConfig model_;
  ContrastiveConfig objective_;
  ZeroShotOptions zero_shot_;
  AugmentOptions augment_;
};

}  // namespace

std::unique_ptr<Task> read_contrastive_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<ContrastiveTask>(reader, mesh);
}

}  // namespace triptych::tasks
