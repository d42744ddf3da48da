#include "models/masked_text.h"

#include <algorithm>

#include "data/field_sources.h"
#include "evaluation/classification_metrics.h"
#include "evaluation/inference.h"
#include "objectives/cross_entropy.h"
#include "tasks/model_config.h"
#include "tasks/results.h"
#include "tasks/standard_tasks.h"

namespace triptych::tasks {
namespace {

const std::string kLogits = "logits";
constexpr const char* kPositions = "masked_positions";
constexpr const char* kTargets = "masked_targets";
constexpr int64_t kTopK = 5;

/// Pretraining of a text encoder: Devlin et al. 2019, BERT's masked tokens.
class MaskedTextTask : public Task {
 public:
  MaskedTextTask(ConfigReader& reader, const MeshShape& mesh) {
    model_.text.causal = false;
    read_dropout(reader, model_.text.dropout);
    read_text_stack(reader, "model.text", model_.text, false, mesh);
    reader.read("model.tied_output", model_.tied_output,
                "Score tokens with the token embedding's matrix, instead of one of their own.");
    reader.read("model.transform_output", model_.transform_output,
                "BERT's product, GELU and norm before the scores, and a bias for each token.");
    reader.read("objective.share", masking_.share, "Of a text's tokens that are to be guessed, at least one.")
        .positive()
        .at_most(1);
    reader.read("objective.mask_share", masking_.mask_share, "Of these, that stand as the mask token.")
        .at_least(0)
        .at_most(1);
    reader
        .read("objective.random_share", masking_.random_share,
              "Of these, that stand as a random token; the rest stay as they are.")
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
    return {cross_entropy_objective({.name = "masked_tokens", .slot = kLogits, .field = kTargets})};
  }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer> tokenizer) const override {
    return {text_fields(std::move(tokenizer), model_.text.length, model_.text.vocabulary, {.masking = masking_})};
  }
  /// The last row of the embedding is the mask token's.
  int64_t vocabulary() const override { return model_.text.vocabulary - 1; }
  void check_data(const Dataset& dataset) const override {
    require_parts(dataset, {.captions = true}, "masked tokens");
  }
  void check_evaluation_set(const Dataset& dataset) const override { check_data(dataset); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override;

 private:
  MaskedTextConfig model_;
  TokenMasking masking_;
};

// A text with its hidden tokens, and guesses.
void add_example(ExamplesPanel& panel, const std::string& set, const Tokenizer& tokenizer, const InferredRows& rows,
                 int64_t item, const std::vector<int32_t>& guesses) {
  const std::span<const int32_t> tokens = rows.field_row<int32_t>("tokens", item);
  const std::span<const int32_t> positions = rows.field_row<int32_t>(kPositions, item);
  const std::span<const int32_t> targets = rows.field_row<int32_t>(kTargets, item);
  const int32_t length = rows.field_row<int32_t>("lengths", item)[0];
  ExamplesPanel::Example& example = panel.examples.emplace_back();
  example.group = set;
  std::size_t next = 0;
  for (int32_t t = 1; t + 1 < length; ++t) {
    const bool is_asked = next < positions.size() && positions[next] == t;
    next += is_asked ? 1 : 0;
    example.asked += is_asked ? " [?]" : " " + tokenizer.piece(tokens[static_cast<std::size_t>(t)]);
  }
  example.correct = true;
  for (std::size_t k = 0; k < guesses.size(); ++k) {
    example.truth += (k == 0 ? "" : " ") + tokenizer.piece(targets[k]);
    example.produced += (k == 0 ? "" : " ") + tokenizer.piece(guesses[k]);
    example.correct = example.correct && guesses[k] == targets[k];
  }
}

EvaluationResults MaskedTextTask::evaluate(Inference& inference, const EvaluationInputs& inputs) const {
  EvaluationResults results;
  TablePanel table{.title = "Masked tokens",
                   .caption =
                       "The share of hidden tokens, those that stand as they are or as another one among them, "
                       "of which the true one is among the first k of all pieces.",
                   .subject_head = "Set",
                   .columns = {"Top-1", "Top-5"},
                   .subjects = {}};
  ExamplesPanel examples{.title = "Guesses", .examples = {}};
  const Tokenizer& tokenizer = *inputs.tokenizer;
  const auto num_pieces = static_cast<std::size_t>(tokenizer.size());
  const auto vocabulary = static_cast<std::size_t>(model_.text.vocabulary);
  const std::vector<FieldSource> sources = fields(inputs.tokenizer);
  const std::vector<std::string> wanted{"tokens", "lengths", kPositions, kTargets};
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::string set = set_name(path);
    const std::vector<int64_t> shown = example_numbers(static_cast<int64_t>(dataset->num_texts(TextRole::kCaption)));
    ClassificationCounter counter(tokenizer.size());
    inference.run(
        dataset, sources, EvaluationItems::kCaptions, std::span(&kLogits, 1),
        [&](const InferredRows& rows) {
          const std::span<const float> all = rows.outputs.at(kLogits);
          const std::size_t per_item = all.size() / static_cast<std::size_t>(rows.num_items);
          for (int64_t i = 0; i < rows.num_items; ++i) {
            const std::span<const int32_t> targets = rows.field_row<int32_t>(kTargets, i);
            std::vector<int32_t> guesses;
            for (std::size_t k = 0; k < targets.size() && targets[k] >= 0; ++k) {
              const std::span<const float> scores =
                  all.subspan(static_cast<std::size_t>(i) * per_item + k * vocabulary, num_pieces);
              counter.add(scores, targets[k]);
              guesses.push_back(static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin()));
            }
            const auto item = static_cast<int64_t>(rows.first_item) + i;
            if (!guesses.empty() && inference.is_first() &&
                std::find(shown.begin(), shown.end(), item) != shown.end()) {
              add_example(examples, set, tokenizer, rows, i, guesses);
            }
          }
        },
        wanted);
    const double top_1 = counter.top_k_accuracy(1), top_5 = counter.top_k_accuracy(kTopK);
    std::vector<TablePanel::Row> rows{{"model", {share_value(top_1), share_value(top_5)}}};
    for (TablePanel::Row& other : baseline_rows(inputs, path, {"masked-token accuracy"})) {
      rows.push_back(std::move(other));
    }
    rows.push_back({"the most frequent token", {share_value(counter.most_frequent_share())}});
    table.subjects.push_back(
        {.name = set, .notes = {fmt::format("{} tokens", counter.num_samples())}, .rows = std::move(rows)});
    results.metrics.emplace_back(set + ": masked-token accuracy", top_1);
    results.metrics.emplace_back(set + ": masked-token top-5 accuracy", top_5);
    results.metrics.emplace_back(set + ": most frequent token", counter.most_frequent_share());
  }
  results.panels = {std::move(table), std::move(examples)};
  return results;
}

}  // namespace

std::unique_ptr<Task> read_masked_text_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<MaskedTextTask>(reader, mesh);
}

}  // namespace triptych::tasks
