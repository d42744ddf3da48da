#include <algorithm>
#include <cmath>

#include "data/field_sources.h"
#include "evaluation/detection_metrics.h"
#include "evaluation/inference.h"
#include "models/detector.h"
#include "objectives/detection.h"
#include "tasks/box_results.h"
#include "tasks/model_config.h"
#include "tasks/probe.h"
#include "tasks/results.h"
#include "tasks/standard_tasks.h"

namespace triptych::tasks {
namespace {

const std::string kLogits = "class_logits", kBoxes = "boxes", kClasses = "box_classes", kPresent = "boxes_present",
                  kPixels = "pixels";
constexpr PartChoice kNeeded{.images = true, .boxes = true};
constexpr double kShownScore = 0.5;  // of what a report draws

/// Object detection: Carion et al. 2020, DETR.
class DetectTask : public Task {
 public:
  DetectTask(ConfigReader& reader, const MeshShape& mesh) {
    reader.read("model.classes", model_.num_classes, "Classes of objects; those of boxes are below.")
        .at_least(1)
        .at_most(1 << 16);
    reader
        .read("model.queries", model_.num_queries,
              "Objects that an image can have found, at most; no sample may have more boxes.")
        .at_least(1)
        .at_most(1024);
    std::string kind = "learned";
    reader
        .read("model.query_kind", kind,
              "What enters the decoder: learned vectors, the same for every image (DETR), or what the encoder made of "
              "each "
              "of the image's patches, which learns faster.")
        .one_of({"learned", "patches"});
    read_dropout(reader, model_.image.dropout);
    read_image_encoder(reader, model_.image, false, mesh);
    if (kind == "patches") {
      model_.queries = DetectorConfig::Queries::kPatches;
      if (model_.num_queries != model_.image.sequence()) {
        reader.problem("model.queries",
                       fmt::format("must be the image's patches where model.query_kind is patches: {}, found {}",
                                   model_.image.sequence(), model_.num_queries),
                       fmt::format("Set it to {}", model_.image.sequence()));
        model_.num_queries = model_.image.sequence();  // of what else is checked: there is no model of the other number
      }
    }
    read_sizes(reader, "model.decoder", model_.decoder, false, mesh);
    if (model_.decoder.positions != PositionKind::kNone) {
      reader.problem(
          "model.decoder.positions",
          fmt::format("must be none: queries bring their places, found {}", position_name(model_.decoder.positions)),
          "Leave it out");
    }
    reader
        .read("objective.class_weight", objective_.class_weight,
              "Weight of the classes' cross-entropy, and of the probability of the class in the cost of a pair.")
        .at_least(0)
        .at_most(1e4);
    reader
        .read("objective.nothing_weight", objective_.nothing_weight,
              "Weight of a query that is to find nothing, relative to one that is to find an object.")
        .at_least(0)
        .at_most(1e4);
    read_box_weights(reader, objective_.l1_weight, objective_.giou_weight);
    read_augmentation(reader, augment_);
    objective_.needs = {kPresent};
  }

  ModelSpec model() const override { return detector(model_); }
  std::vector<ObjectiveSpec> objectives() const override { return {detection_objective(objective_)}; }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer>) const override {
    return {pixels_field(model_.image.size, augment_),
            box_fields(model_.num_queries, model_.num_classes, model_.image.size, augment_)};
  }
  void check_data(const Dataset& dataset) const override {
    require_parts(dataset, kNeeded, "detection");
    const auto most = static_cast<int64_t>(most_boxes(dataset));
    if (most <= model_.num_queries) return;
    throw UserError(
        dataset.path().string(),
        fmt::format("a sample may have at most model.queries = {} boxes; one of this data set has {}. Raise "
                    "model.queries, or name another data set",
                    model_.num_queries, most));
  }
  void check_evaluation_set(const Dataset& dataset) const override { check_data(dataset); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override;
  std::optional<FeatureSlot> features() const override { return image_features(model_.image); }

 private:
  // What the queries of an item found, best first; boxes as shares.
  std::vector<Detection> detections_of(const InferredRows& rows, int64_t item) const;
  std::vector<TrueObject> objects_of(const InferredRows& rows, int64_t item) const;

  DetectorConfig model_;
  DetectionConfig objective_;
  AugmentOptions augment_;
};

std::vector<Detection> DetectTask::detections_of(const InferredRows& rows, int64_t item) const {
  const auto queries = static_cast<std::size_t>(model_.num_queries);
  const std::size_t outputs = static_cast<std::size_t>(model_.num_classes) + 1,
                    first = static_cast<std::size_t>(item) * queries;
  const std::span<const float> all_logits = rows.outputs.at(kLogits), all_boxes = rows.outputs.at(kBoxes);
  std::vector<Detection> found;
  for (std::size_t q = first; q < first + queries; ++q) {
    const std::span<const float> logits = all_logits.subspan(q * outputs, outputs);
    const auto best = std::max_element(logits.begin(), logits.end() - 1);  // but "nothing"
    double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<double>(x) - *best);
    found.push_back({slot_box(all_boxes.subspan(4 * q, 4)), best - logits.begin(), 1 / sum});
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Detection& a, const Detection& b) { return a.score > b.score; });
  return found;
}

std::vector<TrueObject> DetectTask::objects_of(const InferredRows& rows, int64_t item) const {
  const std::span<const float> boxes = rows.field_row<float>(kBoxes, item);
  const std::span<const int32_t> classes = rows.field_row<int32_t>(kClasses, item);
  std::vector<TrueObject> objects;
  for (std::size_t k = 0; k < classes.size(); ++k) {
    if (classes[k] >= 0) objects.push_back({field_box(boxes.subspan(4 * k, 4)), classes[k]});
  }
  return objects;
}

BoundingBox scaled(const BoundingBox& box, double by) {
  return {box.x0 * by, box.y0 * by, box.x1 * by, box.y1 * by};
}

void add_example(BoxesPanel& panel, const std::string& set, ReportPicture picture,
                 const std::vector<Detection>& detections, const std::vector<TrueObject>& objects,
                 const std::vector<std::string>& names) {
  BoxesPanel::Example& example = panel.examples.emplace_back();
  example.group = set;
  example.picture = std::move(picture);
  for (const TrueObject& object : objects) {
    example.boxes.push_back(drawn_box(object.box, names[static_cast<std::size_t>(object.label)]));
    example.boxes.back().is_truth = true;
  }
  for (const Detection& found : detections) {
    if (found.score < kShownScore) break;
    BoxesPanel::Box& box =
        example.boxes.emplace_back(drawn_box(found.box, names[static_cast<std::size_t>(found.label)]));
    box.score = found.score;
    box.correct = std::any_of(objects.begin(), objects.end(), [&](const TrueObject& object) {
      return object.label == found.label && box_iou(object.box, found.box) >= kRightIou;
    });
  }
}

// A score that is there only where there is something to find.
TableValue score_value(const std::optional<double>& score) {
  return score ? share_value(*score) : TableValue{};
}

std::vector<TableValue> values_of_scores(const DetectionScores& scores) {
  return {score_value(scores.ap), score_value(scores.ap_50), score_value(scores.ap_75), score_value(scores.recall)};
}

TablePanel table_of(const std::string& title, const std::string& caption, const std::string& subject_head) {
  return {.title = title,
          .caption = caption,
          .subject_head = subject_head,
          .columns = {"mAP", "mAP at 0.5", "at 0.75", "Recall"},
          .subjects = {}};
}

TablePanel classes_table(const std::string& set, const DetectionCounter& counter,
                         const std::vector<std::string>& names) {
  TablePanel table = table_of("Classes of " + set, "The same of each class alone.", "Class");
  for (std::size_t c = 0; c < names.size(); ++c) {
    const auto label = static_cast<int64_t>(c);
    if (counter.num_objects(label) == 0) continue;
    table.subjects.push_back({.name = names[c],
                              .notes = {fmt::format("{} objects", counter.num_objects(label))},
                              .rows = {{"model", values_of_scores(counter.class_scores(label))}}});
  }
  return table;
}

EvaluationResults DetectTask::evaluate(Inference& inference, const EvaluationInputs& inputs) const {
  EvaluationResults results;
  TablePanel table = table_of("Detection",
                              "Mean average precision as COCO defines it: the mean over the classes and over the IoU "
                              "thresholds 0.5, 0.55, ..., 0.95; at one threshold alone; and the share of objects that "
                              "are found, the mean over the thresholds.",
                              "Set");
  BoxesPanel examples{.title = "Boxes",
                      .caption = fmt::format("Dashed: what is there. Drawn: what was found with a score of {} or more; "
                                             "green where the class is right and the IoU at least {}.",
                                             kShownScore, kRightIou),
                      .examples = {}};
  std::vector<TablePanel> of_classes;
  const std::vector<FieldSource> sources = fields(nullptr);
  const std::vector<std::string> slots{kLogits, kBoxes}, wanted{kBoxes, kClasses, kPresent, kPixels};
  const auto side = static_cast<double>(model_.image.size);
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::string set = set_name(path);
    const std::vector<std::string> names = label_names(path, model_.num_classes);
    const std::vector<int64_t> shown = example_numbers(static_cast<int64_t>(dataset->size()));
    DetectionCounter counter(model_.num_classes);
    int64_t num_objects = 0;
    inference.run(
        dataset, sources, EvaluationItems::kSamples, slots,
        [&](const InferredRows& rows) {
          for (int64_t i = 0; i < rows.num_items; ++i) {
            if (rows.field_row<uint8_t>(kPresent, i)[0] == 0) continue;
            std::vector<Detection> detections = detections_of(rows, i);
            std::vector<TrueObject> objects = objects_of(rows, i);
            num_objects += static_cast<int64_t>(objects.size());
            const auto sample = static_cast<int64_t>(rows.first_item) + i;
            if (inference.is_first() && std::find(shown.begin(), shown.end(), sample) != shown.end()) {
              add_example(examples, set, seen_picture(rows.field_row<uint8_t>(kPixels, i), model_.image.size, set),
                          detections, objects, names);
            }
            for (Detection& each : detections) each.box = scaled(each.box, side);
            for (TrueObject& each : objects) each.box = scaled(each.box, side);
            counter.add(detections, objects);
          }
        },
        wanted);
    const DetectionScores scores = counter.scores();
    std::vector<TablePanel::Row> rows{{"model", values_of_scores(scores)}};
    for (TablePanel::Row& other : baseline_rows(inputs, path, {"mAP", "mAP at 0.5"})) rows.push_back(std::move(other));
    table.subjects.push_back({.name = set,
                              .notes = with_lacking({fmt::format("{} pictures", counter.num_images()),
                                                     fmt::format("{} objects", num_objects)},
                                                    *dataset, kNeeded),
                              .rows = std::move(rows)});
    if (scores.ap) results.metrics.emplace_back(set + ": mAP", *scores.ap);
    if (scores.ap_50) results.metrics.emplace_back(set + ": mAP at 0.5", *scores.ap_50);
    of_classes.push_back(classes_table(set, counter, names));
  }
  results.panels = {std::move(table), std::move(examples)};
  for (TablePanel& each : of_classes) results.panels.push_back(std::move(each));
  return results;
}

}  // namespace

std::unique_ptr<Task> read_detect_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<DetectTask>(reader, mesh);
}

}  // namespace triptych::tasks
