#include "models/language.h"

#include <utility>

#include <fmt/format.h>

#include "data/field_sources.h"
#include "objectives/cross_entropy.h"
#include "tasks/explain.h"
#include "tasks/language_results.h"
#include "tasks/model_config.h"
#include "tasks/probe.h"
#include "tasks/results.h"
#include "tasks/standard_tasks.h"
#include "tasks/written_answer_results.h"

namespace triptych::tasks {
namespace {

constexpr const char* kGated = "gated_cross_attention";

/// A language model: it learns to foretell each token of a text from those before, and from a picture where one is
/// connected; of texts that are questions with their answers it learns the answers alone.
class LanguageTask : public Task {
 public:
  LanguageTask(ConfigReader& reader, const MeshShape& mesh) {
    read_dropout(reader, model_.text.dropout);
    model_.image.dropout = model_.text.dropout;
    model_.connector.kind = ConnectorKind::kNone;
    const std::string kind = read_connector(reader, model_.connector, {kGated});
    bool resamples = false;
    reader.read(
        "model.connector.resample", resamples,
        "With gated_cross_attention: it looks at a resampler's queries (Flamingo), not at the encoder's tokens.");
    reader
        .read("model.connector.every", model_.gated_every,
              "With gated_cross_attention: a gated layer stands in front of every so many of the decoder's blocks.")
        .at_least(1)
        .at_most(1024);
    reader
        .read("model.connector.gate", model_.initial_gate,
              "With gated_cross_attention: what gates begin at. 0: the model is at first the language model alone.")
        .at_least(-10)
        .at_most(10);
    if (kind == kGated) {
      model_.way = PictureWay::kGatedCrossAttention;
      model_.connector.kind = resamples ? ConnectorKind::kResampler : ConnectorKind::kNone;
    } else if (model_.connector.kind != ConnectorKind::kNone) {
      model_.way = PictureWay::kPrefix;
    }
    // Without pictures the image encoder's keys are there, but make nothing that the mesh would have to divide.
    read_image_encoder(reader, model_.image, true, has_pictures() ? mesh : MeshShape{});
    read_text_stack(reader, "model.text", model_.text, false, mesh);
    reader.read("model.tied_output", model_.tied_output,
                "Score tokens with the token embedding's matrix (GPT-2), instead of one of their own (Llama).");
    std::string target = "caption";
    reader
        .read("objective.target", target,
              "caption: all of a caption's tokens are learned; answer: of a question and its answer, the answer's.")
        .one_of({"caption", "answer"});
    answers_ = target == "answer";
    read_label_smoothing(reader, smoothing_, "tokens");
    read_decoding(reader, decoding_);
    decoding_.text_length = model_.text.length;
    decoding_.memory = kPictureSlot;
    if (answers_ && decoding_.prompts != std::vector<std::string>{""}) {
      reader.problem("decoding.prompts",
                     fmt::format("must be [\"\"] where objective.target is answer: each text begins with its "
                                 "question, found {}",
                                 fmt::join(decoding_.prompts, ", ")),
                     "Leave it out, or set it to [\"\"] where an included file has it");
    }
    read_augmentation(reader, augment_);
  }

  ModelSpec model() const override { return language_model(model_); }
  std::vector<ObjectiveSpec> objectives() const override {
    std::vector<std::string> needs;
    if (has_pictures()) needs.emplace_back("image_present");
    return {cross_entropy_objective(
        {.name = "language", .slot = "logits", .field = "targets", .needs = needs, .label_smoothing = smoothing_})};
  }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer> tokenizer) const override {
    return sources(std::move(tokenizer));
  }
  int64_t vocabulary() const override { return model_.text.vocabulary; }
  TextRole text_role() const override { return answers_ ? TextRole::kQuestion : TextRole::kCaption; }
  void check_data(const Dataset& dataset) const override {
    require_parts(dataset,
                  {.images = has_pictures(), .captions = !answers_, .questions = answers_, .answers = answers_},
                  "a language model");
  }
  void check_evaluation_set(const Dataset& dataset) const override { check_data(dataset); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override {
    const std::vector<FieldSource> read = sources(inputs.tokenizer);
    if (answers_) return written_answer_results(inference, inputs, read, decoding_, {*this, inference, inputs});
    EvaluationResults results = perplexity_results(inference, inputs, read, has_pictures());
    if (!has_pictures()) {
      results.panels.push_back(written_texts(inference, *inputs.tokenizer, decoding_));
      return results;
    }
    const FieldSource pixels = pixels_field(model_.image.size, augment_);
    append_results(results,
                   caption_results(inference, inputs, std::span(&pixels, 1), decoding_, {*this, inference, inputs}));
    return results;
  }
  bool can_explain() const override { return has_pictures(); }
  Explanation explain(Inference& inference, const ExplainInputs& inputs) const override {
    const bool is_prefix = model_.way == PictureWay::kPrefix;
    const ExplainedModel model{.image = model_.image,
                               .picture = augment_.picture,
                               .connector = model_.connector,
                               .decoder = is_prefix ? "text" : "gated",
                               .is_prefix = is_prefix,
                               .answers = answers_,
                               .text_length = model_.text.length};
    return explain_image(inference, inputs, model, [&](const Fields& fields) {
      return answers_ ? write_answer(inference, fields, inputs.text, *inputs.tokenizer, decoding_)
                      : write_caption(inference, fields, *inputs.tokenizer, decoding_);
    });
  }
  std::optional<FeatureSlot> features() const override {
    return has_pictures() ? std::optional(image_features(model_.image)) : std::nullopt;
  }

 private:
  bool has_pictures() const { return model_.way != PictureWay::kNone; }
  std::vector<FieldSource> sources(std::shared_ptr<const Tokenizer> tokenizer) const {
    std::vector<FieldSource> all{text_fields(std::move(tokenizer), model_.text.length, model_.text.vocabulary,
                                             {.targets = true, .with_answer = answers_}),
                                 presence_fields()};
    if (has_pictures()) all.push_back(pixels_field(model_.image.size, augment_));
    return all;
  }

  LanguageConfig model_;
  bool answers_ = false;
  double smoothing_ = 0;
  CaptionOptions decoding_;
  AugmentOptions augment_;
};

}  // namespace

std::unique_ptr<Task> read_language_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<LanguageTask>(reader, mesh);
}

}  // namespace triptych::tasks
