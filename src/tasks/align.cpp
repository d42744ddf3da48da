#include "data/field_sources.h"
#include "data/next_texts.h"
#include "evaluation/inference.h"
#include "models/aligner.h"
#include "objectives/cross_entropy.h"
#include "objectives/matching.h"
#include "tasks/masked_token_results.h"
#include "tasks/model_config.h"
#include "tasks/multimodal_config.h"
#include "tasks/probe.h"
#include "tasks/results.h"
#include "tasks/retrieval_results.h"
#include "tasks/standard_tasks.h"

namespace triptych::tasks {
namespace {

const std::string kScores = "matching_scores";

/// Align before fuse: Li et al. 2021, ALBEF. Contrastive, matching and masked-token losses together, on one model.
class AlignTask : public Task {
 public:
  AlignTask(ConfigReader& reader, const MeshShape& mesh) {
    read_embedding(reader, model_.embedding);
    read_multimodal(reader, model_.parts, mesh);
    read_contrastive(reader, contrastive_);
    model_.matching.scale = contrastive_.initial_scale;
    reader
        .read("objective.matching_group", model_.matching.group,
              "Neighbouring rows of the global batch among which mismatched images are found, similar ones more often; "
              "divides the rows of a microbatch on a rank.")
        .at_least(2)
        .at_most(65536);
    read_loss_weight(reader, "contrastive", contrastive_weight_);
    read_loss_weight(reader, "matching", matching_weight_);
    reader
        .read("objective.masked_weight", masked_weight_,
              "Weight of the masked tokens' loss in the sum. 0: no token is hidden.")
        .at_least(0)
        .at_most(1e4);
    reader
        .read("objective.masked_share", masking_.share,
              "Share of a text's tokens that are to be guessed, at least one.")
        .positive()
        .at_most(1);
    read_augmentation(reader, augment_);
    const FusionConfig& fusion = model_.parts.fusion;
    const TextStackConfig& text = model_.parts.text;
    model_.num_masked = masked_weight_ > 0 ? num_masked_tokens(reader, text, masking_.share) : 0;
    if (masked_weight_ > 0 && (fusion.kind == FusionKind::kGated || fusion.sizes.width != text.sizes.width)) {
      reader.problem(
          "objective.masked_weight",
          fmt::format("must be 0 unless the fusion keeps the text's tokens, in its width: fusion {}, width {} "
                      "of {}",
                      fusion_name(fusion.kind), fusion.sizes.width, text.sizes.width),
          "Set it to 0, or change model.fusion");
    }
  }

  ModelSpec model() const override { return aligner(model_); }
  std::vector<ObjectiveSpec> objectives() const override {
    std::vector<ObjectiveSpec> all{contrastive_objective(contrastive_, contrastive_weight_),
                                   matching_objective(model_.matching.group, matching_weight_)};
    if (masked_weight_ > 0) {
      all.push_back(cross_entropy_objective({.name = "masked_tokens",
                                             .slot = "logits",
                                             .field = "masked_targets",
                                             .needs = {"matched"},
                                             .weight = masked_weight_}));
    }
    return all;
  }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer> tokenizer) const override {
    TextOptions options;
    if (masked_weight_ > 0) options.masking = masking_;
    return with_text(std::move(tokenizer), options);
  }
  /// The last row of the embedding is the mask token's.
  int64_t vocabulary() const override { return model_.parts.text.vocabulary; }
  void check_data(const Dataset& dataset) const override { require_parts(dataset, kPairs, "alignment", 2); }
  void check_evaluation_set(const Dataset& dataset) const override { require_parts(dataset, kPairs, "retrieval"); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override;
  std::optional<FeatureSlot> features() const override { return image_features(model_.parts.image); }
  std::optional<SharedSpace> shared_space() const override {
    return SharedSpace{
        .image_size = model_.parts.image.size, .text_length = model_.parts.text.length, .picture = augment_.picture};
  }
  std::vector<FieldSource> shared_space_fields(std::shared_ptr<const Tokenizer> tokenizer) const override {
    return with_text(std::move(tokenizer), {});
  }

 private:
  std::vector<FieldSource> with_text(std::shared_ptr<const Tokenizer> tokenizer, const TextOptions& options) const {
    return {pixels_field(model_.parts.image.size, augment_),
            text_fields(std::move(tokenizer), model_.parts.text.length, model_.parts.text.vocabulary, options),
            presence_fields(), matched_field()};
  }

  AlignerConfig model_;
  ContrastiveConfig contrastive_;
  double contrastive_weight_ = 1, matching_weight_ = 1, masked_weight_ = 1;
  TokenMasking masking_;
  AugmentOptions augment_;
};

// Of the pairs of a set, or of those that its images make with the next sample's texts: how often the model says
// `truth`.
struct MatchingCount {
  int64_t right = 0, all = 0;

  void add(const InferredRows& rows, bool truth) {
    const std::vector<float>& scores = rows.outputs.at(kScores);
    for (std::size_t i = 0; i < static_cast<std::size_t>(rows.num_items); ++i) {
      if (!rows.image_present[i] || !rows.text_present[i]) continue;
      ++all;
      right += (scores[2 * i + 1] > scores[2 * i]) == truth ? 1 : 0;
    }
  }
  double share() const { return static_cast<double>(right) / static_cast<double>(all); }
};

EvaluationResults AlignTask::evaluate(Inference& inference, const EvaluationInputs& inputs) const {
  const std::vector<FieldSource> sources = shared_space_fields(inputs.tokenizer);
  EvaluationResults results = retrieval_results(inference, inputs, sources);
  TablePanel table{
      .title = "Matching",
      .caption =
          "Whether image and text belong together: of each sample's image with its first caption, and with "
          "the next sample's. Accuracy is the mean of both shares.",
      .subject_head = "Set",
      .columns = {"Accuracy", "Pairs", "Mismatched"},
      .subjects = {}};
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::string set = set_name(path);
    MatchingCount pairs, mismatched;
    inference.run(dataset, sources, EvaluationItems::kSamples, std::span(&kScores, 1),
                  [&](const InferredRows& rows) { pairs.add(rows, true); });
    inference.run(dataset, with_texts_of_next(sources), EvaluationItems::kSamples, std::span(&kScores, 1),
                  [&](const InferredRows& rows) { mismatched.add(rows, false); });
    const double accuracy = (pairs.share() + mismatched.share()) / 2;
    std::vector<TablePanel::Row> rows{
        {"model", {share_value(accuracy), share_value(pairs.share()), share_value(mismatched.share())}},
        {"chance", {share_value(0.5), share_value(0.5), share_value(0.5)}}};
    table.subjects.push_back(
        {.name = set,
         .notes = with_lacking({fmt::format("{} pairs, {} mismatched", pairs.all, mismatched.all)}, *dataset, kPairs),
         .rows = std::move(rows)});
    results.metrics.emplace_back(set + ": matching accuracy", accuracy);
  }
  results.panels.insert(results.panels.begin() + 1, std::move(table));
  if (masked_weight_ == 0) return results;
  EvaluationResults guesses = masked_token_results(inference, inputs, fields(inputs.tokenizer),
                                                   {.vocabulary = model_.parts.text.vocabulary, .sees_images = true});
  std::move(guesses.metrics.begin(), guesses.metrics.end(), std::back_inserter(results.metrics));
  std::move(guesses.panels.begin(), guesses.panels.end(), std::back_inserter(results.panels));
  return results;
}

}  // namespace

std::unique_ptr<Task> read_align_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<AlignTask>(reader, mesh);
}

}  // namespace triptych::tasks
