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
    read_heads(reader);
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
                          .picture = augment_.picture,
                          .pool = pool_attention(model_.image),
                          .has_embeddings = true,
                          .text_length = model_.text.length});
  }
  std::optional<SharedSpace> shared_space() const override {
    return SharedSpace{.image_size = model_.image.size, .text_length = model_.text.length, .picture = augment_.picture};
  }

 private:
  // What stands between the towers and the embeddings.
  void read_heads(ConfigReader& reader) {
    std::string image = "linear", text = "linear", padding = "masked";
    reader
        .read("model.image.projection", image,
              "From the pooled image to the embedding: linear, or none: the pooled state is the embedding (SigLIP).")
        .one_of({"linear", "none"});
    reader
        .read("model.text.projection", text,
              "From the text's last token to the embedding: linear; biased, with a bias "
              "(SigLIP).")
        .one_of({"linear", "biased"});
    reader
        .read("model.text.padding", padding,
              "masked: a text ends with its end token; read: with its last pad, and all of them are a part of it "
              "(SigLIP).")
        .one_of({"masked", "read"});
    if (image == "none") model_.image_projection = Projection::kNone;
    if (text == "biased") model_.text_projection = Projection::kBiasedProduct;
    model_.text.reads_padding = padding == "read";
    if (image == "none" && model_.embedding != model_.image.sizes.width) {
      reader.problem("model.image.projection",
                     fmt::format("none needs model.embedding to be model.image.width: {}, {}", model_.embedding,
                                 model_.image.sizes.width),
                     "Change one of them, or use linear");
      model_.image_projection = Projection::kProduct;
    }
  }

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
