#include <algorithm>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "data/field_sources.h"
#include "data/hidden_parts.h"
#include "evaluation/inference.h"
#include "models/grounder.h"
#include "objectives/grounding.h"
#include "tasks/box_results.h"
#include "tasks/model_config.h"
#include "tasks/probe.h"
#include "tasks/results.h"
#include "tasks/standard_tasks.h"

namespace triptych::tasks {
namespace {

const std::string kBox = "box", kTruth = "phrase_box", kPresent = "phrase_box_present", kPixels = "pixels",
                  kTokens = "tokens", kLengths = "lengths";
constexpr PartChoice kNeeded{.images = true, .phrases = true, .boxes = true};

/// Grounding: where in an image is what a phrase names.
class GroundTask : public Task {
 public:
  GroundTask(ConfigReader& reader, const MeshShape& mesh) {
    read_dropout(reader, model_.image.dropout);
    model_.text.dropout = model_.image.dropout;
    read_image_encoder(reader, model_.image, false, mesh);
    read_text_stack(reader, "model.text", model_.text, false, mesh);
    read_box_weights(reader, objective_.l1_weight, objective_.giou_weight);
    read_augmentation(reader, augment_);
  }

  ModelSpec model() const override { return grounder(model_); }
  std::vector<ObjectiveSpec> objectives() const override { return {grounding_objective(objective_)}; }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer> tokenizer) const override {
    return {pixels_field(model_.image.size, augment_),
            text_fields(std::move(tokenizer), model_.text.length, model_.text.vocabulary),
            phrase_box_fields(model_.image.size, augment_)};
  }
  int64_t vocabulary() const override { return model_.text.vocabulary; }
  TextRole text_role() const override { return TextRole::kPhrase; }
  void check_data(const Dataset& dataset) const override { require_parts(dataset, kNeeded, "grounding"); }
  void check_evaluation_set(const Dataset& dataset) const override { check_data(dataset); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override;
  std::optional<FeatureSlot> features() const override { return image_features(model_.image); }

 private:
  GrounderConfig model_;
  GroundingConfig objective_;
  AugmentOptions augment_;
};

// How good boxes are: the share of those with an IoU of at least 0.5, and the mean IoU.
struct Overlaps {
  double num_right = 0, sum = 0, count = 0;

  void add(double iou) {
    num_right += iou >= kRightIou ? 1 : 0;
    sum += iou;
    ++count;
  }
  double accuracy() const { return count > 0 ? num_right / count : 0; }
  std::vector<TableValue> values() const { return {share_value(accuracy()), share_value(count > 0 ? sum / count : 0)}; }
};

// What is reached without looking: a box in the picture's middle, as large as the true ones are on average.
Overlaps overlaps_of_middle(const std::vector<BoundingBox>& truths) {
  double width = 0, height = 0;
  for (const BoundingBox& truth : truths) {
    width += (truth.x1 - truth.x0) / static_cast<double>(truths.size());
    height += (truth.y1 - truth.y0) / static_cast<double>(truths.size());
  }
  const BoundingBox middle = to_corners({.x = 0.5, .y = 0.5, .width = width, .height = height});
  Overlaps overlaps;
  for (const BoundingBox& truth : truths) overlaps.add(box_iou(middle, truth));
  return overlaps;
}

BoundingBox box_of_row(const InferredRows& rows, int64_t row) {
  return slot_box(std::span(rows.outputs.at(kBox)).subspan(static_cast<std::size_t>(row) * 4, 4));
}

// How well a set's phrases were found.
struct FoundPhrases {
  Overlaps both, of_image, of_text;
  std::vector<BoundingBox> truths;
};

// A phrase as the report shows it.
BoxesPanel::Example drawn_phrase(const InferredRows& rows, int64_t row, const Tokenizer& tokenizer,
                                 int64_t image_size) {
  const auto length = static_cast<std::size_t>(rows.field_row<int32_t>(kLengths, row)[0]);
  BoxesPanel::Example example;
  example.asked = tokenizer.decode(rows.field_row<int32_t>(kTokens, row).first(length));
  example.picture = seen_picture(rows.field_row<uint8_t>(kPixels, row), image_size, example.asked);
  const BoundingBox truth = field_box(rows.field_row<float>(kTruth, row)), found = box_of_row(rows, row);
  const double iou = box_iou(found, truth);
  example.boxes = {drawn_box(truth, ""), drawn_box(found, example.asked)};
  example.boxes[0].is_truth = true;
  example.boxes[1].correct = iou >= kRightIou;
  example.boxes[1].score = iou;
  return example;
}

// Looks for all phrases: with the images, with the phrases hidden, and with the images hidden. `see` is called for
// those of the first that have a box.
FoundPhrases find_phrases(Inference& inference, const std::shared_ptr<const Dataset>& dataset,
                          const std::vector<FieldSource>& sources,
                          const std::function<void(const InferredRows&, int64_t row, int64_t item)>& see) {
  const std::vector<std::string> wanted{kTruth, kPresent, kPixels, kTokens, kLengths};
  FoundPhrases found;
  std::map<int64_t, BoundingBox> truth_of;  // by phrase
  inference.run(
      dataset, sources, EvaluationItems::kCaptions, std::span(&kBox, 1),
      [&](const InferredRows& rows) {
        for (int64_t i = 0; i < rows.num_items; ++i) {
          if (rows.field_row<uint8_t>(kPresent, i)[0] == 0) continue;
          const BoundingBox truth = field_box(rows.field_row<float>(kTruth, i));
          const auto item = static_cast<int64_t>(rows.first_item) + i;
          found.both.add(box_iou(box_of_row(rows, i), truth));
          found.truths.push_back(truth);
          truth_of[item] = truth;
          see(rows, i, item);
        }
      },
      wanted);
  for (const auto& [of, hidden] :
       {std::pair{&found.of_image, SampleParts::kCaptions}, std::pair{&found.of_text, SampleParts::kImage}}) {
    inference.run(dataset, hiding(sources, hidden), EvaluationItems::kCaptions, std::span(&kBox, 1),
                  [&](const InferredRows& rows) {
                    for (int64_t i = 0; i < rows.num_items; ++i) {
                      const auto truth = truth_of.find(static_cast<int64_t>(rows.first_item) + i);
                      if (truth == truth_of.end()) continue;
                      of->add(box_iou(box_of_row(rows, i), truth->second));
                    }
                  });
  }
  return found;
}

EvaluationResults GroundTask::evaluate(Inference& inference, const EvaluationInputs& inputs) const {
  EvaluationResults results;
  TablePanel table{
      .title = "Grounding",
      .caption =
          "The share of phrases whose box has an IoU of at least 0.5 with the true one, and the mean IoU. Image only: "
          "the phrase is hidden; text only: the image is; beside each what it has more than both.",
      .subject_head = "Set",
      .columns = {"Accuracy at 0.5", "Mean IoU"},
      .subjects = {}};
  BoxesPanel examples{.title = "Phrases",
                      .caption =
                          "Dashed: where it is. Drawn: where the model finds it; green where the IoU is at least "
                          "0.5, the score.",
                      .examples = {}};
  const std::vector<FieldSource> sources = fields(inputs.tokenizer);
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::string set = set_name(path);
    const std::vector<int64_t> shown = example_numbers(static_cast<int64_t>(dataset->num_texts(text_role())));
    const auto show = [&](const InferredRows& rows, int64_t row, int64_t item) {
      if (!inference.is_first() || std::find(shown.begin(), shown.end(), item) == shown.end()) return;
      examples.examples.push_back(drawn_phrase(rows, row, *inputs.tokenizer, model_.image.size));
      examples.examples.back().group = set;
    };
    const FoundPhrases found = find_phrases(inference, dataset, sources, show);
    std::vector<TablePanel::Row> rows{{"model", found.both.values()},
                                      {"model, image only", found.of_image.values()},
                                      {"model, text only", found.of_text.values()}};
    for (const std::size_t alone : {1, 2}) tell_changes(rows[alone], rows[0]);
    for (TablePanel::Row& other : baseline_rows(inputs, path, {"accuracy at 0.5"})) rows.push_back(std::move(other));
    rows.push_back({"a box in the middle", overlaps_of_middle(found.truths).values()});
    table.subjects.push_back(
        {.name = set,
         .notes = with_lacking({fmt::format("{} phrases", found.truths.size())}, *dataset, kNeeded),
         .rows = std::move(rows)});
    results.metrics.emplace_back(set + ": accuracy at 0.5", found.both.accuracy());
    results.metrics.emplace_back(set + ": accuracy at 0.5, image only", found.of_image.accuracy());
    results.metrics.emplace_back(set + ": accuracy at 0.5, text only", found.of_text.accuracy());
  }
  results.panels = {std::move(table), std::move(examples)};
  return results;
}

}  // namespace

std::unique_ptr<Task> read_ground_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<GroundTask>(reader, mesh);
}

}  // namespace triptych::tasks
