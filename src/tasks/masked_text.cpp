#include "models/masked_text.h"

#include <algorithm>

#include "data/field_sources.h"
#include "objectives/cross_entropy.h"
#include "tasks/masked_token_results.h"
#include "tasks/model_config.h"
#include "tasks/results.h"
#include "tasks/standard_tasks.h"

namespace triptych::tasks {
namespace {

constexpr const char* kLogits = "logits";

/// Pretraining of a text encoder: Devlin et al. 2019, BERT's masked tokens.
class MaskedTextTask : public Task {
 public:
  MaskedTextTask(ConfigReader& reader, const MeshShape& mesh) {
    model_.text.causal = false;
    read_dropout(reader, model_.text.dropout);
    read_text_stack(reader, "model.text", model_.text, false, mesh);
    reader
        .read("model.text.segments", model_.text.segments,
              "Kinds of sentences that have a vector each, of which every token of a text has the first (BERT: 2). 0: "
              "none.")
        .at_least(0)
        .at_most(1024);
    reader.read("model.tied_output", model_.tied_output,
                "Score tokens with the token embedding's matrix, instead of one of their own.");
    reader.read("model.transform_output", model_.transform_output,
                "BERT's product, GELU and norm before the scores, and a bias for each token.");
    reader.read("objective.share", masking_.share, "Share of a text's tokens that are to be guessed, at least one.")
        .positive()
        .at_most(1);
    reader.read("objective.mask_share", masking_.mask_share, "Share of these that are shown as the mask token.")
        .at_least(0)
        .at_most(1);
    reader
        .read("objective.random_share", masking_.random_share,
              "Share of these that are shown as a random token; the rest stay as they are.")
        .at_least(0)
        .at_most(1);
    if (masking_.mask_share + masking_.random_share > 1) {
      reader.problem("objective.random_share",
                     fmt::format("must not exceed 1 - objective.mask_share: {} > 1 - {}", masking_.random_share,
                                 masking_.mask_share),
                     "Lower one of them");
    }
    model_.num_masked = num_masked_tokens(reader, model_.text, masking_.share);
  }

  ModelSpec model() const override { return masked_text(model_); }
  std::vector<ObjectiveSpec> objectives() const override {
    return {cross_entropy_objective({.name = "masked_tokens", .slot = kLogits, .field = "masked_targets"})};
  }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer> tokenizer) const override {
    return {text_fields(std::move(tokenizer), model_.text.length, model_.text.vocabulary, {.masking = masking_})};
  }
  /// The last row of the embedding is the mask token's.
  int64_t vocabulary() const override { return model_.text.vocabulary; }
  void check_data(const Dataset& dataset) const override {
    require_parts(dataset, {.captions = true}, "masked tokens");
  }
  void check_evaluation_set(const Dataset& dataset) const override { check_data(dataset); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override {
    return masked_token_results(inference, inputs, fields(inputs.tokenizer),
                                {.slot = kLogits, .vocabulary = model_.text.vocabulary});
  }

 private:
  MaskedTextConfig model_;
  TokenMasking masking_;
};

}  // namespace

std::unique_ptr<Task> read_masked_text_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<MaskedTextTask>(reader, mesh);
}

}  // namespace triptych::tasks
