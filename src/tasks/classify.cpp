#include <algorithm>
#include <cmath>

#include "data/field_sources.h"
#include "evaluation/classification_metrics.h"
#include "evaluation/inference.h"
#include "models/classifier.h"
#include "objectives/cross_entropy.h"
#include "tasks/explain.h"
#include "tasks/model_config.h"
#include "tasks/probe.h"
#include "tasks/results.h"
#include "tasks/sample_explainer.h"
#include "tasks/standard_tasks.h"

namespace triptych::tasks {
namespace {

constexpr const char* kLogits = "logits";
constexpr int64_t kTopK = 5;
constexpr PartChoice kNeeded{.images = true, .labels = true};

/// Image classification: Dosovitskiy et al. 2021, ViT.
class ClassifyTask : public Task {
 public:
  ClassifyTask(ConfigReader& reader, const MeshShape& mesh) {
    reader.read("model.classes", model_.num_classes, "Classes; labels are below.").at_least(2).at_most(1 << 20);
    read_dropout(reader, model_.image.dropout);
    read_image_encoder(reader, model_.image, true, mesh);
    read_label_smoothing(reader, smoothing_, "classes");
    read_augmentation(reader, augment_);
  }

  ModelSpec model() const override { return classifier(model_); }
  std::vector<ObjectiveSpec> objectives() const override {
    return {cross_entropy_objective({.name = "classify",
                                     .slot = kLogits,
                                     .field = "label",
                                     .needs = {"image_present"},
                                     .label_smoothing = smoothing_})};
  }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer>) const override {
    return {pixels_field(model_.image.size, augment_), label_field(model_.num_classes), presence_fields()};
  }
  void check_data(const Dataset& dataset) const override {
    require_parts(dataset, kNeeded, "classification");
    require_labels_below(dataset, model_.num_classes);
  }
  void check_evaluation_set(const Dataset& dataset) const override { check_data(dataset); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override;
  std::optional<FeatureSlot> features() const override { return image_features(model_.image); }
  bool can_explain() const override { return true; }
  Explanation explain(Inference& inference, const ExplainInputs& inputs) const override {
    return explain_image(inference, inputs,
                         {.image = model_.image,
                          .picture = augment_.picture,
                          .pool = pool_attention(model_.image),
                          .class_slot = kLogits});
  }

 private:
  ClassifierConfig model_;
  double smoothing_ = 0.1;
  AugmentOptions augment_;
};

void add_example(ExamplesPanel& panel, const std::string& set, const Dataset& dataset, int64_t sample,
                 std::span<const float> scores, int64_t label, const std::vector<std::string>& names) {
  const auto produced = std::max_element(scores.begin(), scores.end()) - scores.begin();
  const std::string truth = names[static_cast<std::size_t>(label)];
  panel.examples.push_back({.group = set,
                            .picture = picture_of(dataset, sample, truth),
                            .asked = {},
                            .truth = truth,
                            .produced = names[static_cast<std::size_t>(produced)],
                            .correct = produced == label});
}

// Which pictures of a set were recognised, and which were not.
struct Outcomes {
  struct Outcome {
    int64_t sample = 0, label = 0, produced = 0;
    double probability = 0;  // of what was produced
  };
  std::vector<Outcome> right, wrong;

  void add(int64_t sample, int64_t label, std::span<const float> scores) {
    const auto best = std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (const float score : scores) sum += std::exp(static_cast<double>(score - *best));
    const auto produced = static_cast<int64_t>(best - scores.begin());
    (produced == label ? right : wrong)
        .push_back({.sample = sample, .label = label, .produced = produced, .probability = 1 / sum});
  }
};

// Some that were recognised and as many that were not, each with a map of its class. Collective.
void add_looks(ExamplesPanel& panel, const std::string& set, const Dataset& dataset, const Outcomes& outcomes,
               const std::vector<std::string>& names, const SampleExplainer& explainer, bool is_first) {
  const std::pair<const char*, const std::vector<Outcomes::Outcome>*> kinds[] = {{"right", &outcomes.right},
                                                                                 {"wrong", &outcomes.wrong}};
  for (const auto& [kind, all] : kinds) {
    for (const int64_t number : spread_numbers(static_cast<int64_t>(all->size()), explainer.num_maps())) {
      const Outcomes::Outcome& one = (*all)[static_cast<std::size_t>(number)];
      const std::optional<Explanation> explanation = explainer.explain(dataset, one.sample);
      if (!explanation || !is_first) continue;
      const std::string& truth = names[static_cast<std::size_t>(one.label)];
      const std::string& produced = names[static_cast<std::size_t>(one.produced)];
      panel.examples.push_back({.group = fmt::format("{}, {}", set, kind),
                                .picture = picture_of(dataset, one.sample, truth),
                                .asked = {},
                                .truth = truth,
                                .produced = produced,
                                .score = one.probability,
                                .correct = one.produced == one.label,
                                .maps = relevance_picture(*explanation, produced)});
    }
  }
}

EvaluationResults ClassifyTask::evaluate(Inference& inference, const EvaluationInputs& inputs) const {
  EvaluationResults results;
  TablePanel table{.title = "Classification",
                   .caption =
                       "The share of pictures whose class is among the first k, and the mean over the classes "
                       "of the share that is recognised.",
                   .subject_head = "Set",
                   .columns = {"Top-1", "Top-5", "Class mean"},
                   .subjects = {}};
  ExamplesPanel examples{.title = "Examples", .examples = {}};
  ExamplesPanel looks{.title = "Where it looks",
                      .caption = "With each class's probability; a map is bright where the picture counted for it.",
                      .examples = {}};
  const SampleExplainer explainer(*this, inference, inputs);
  std::vector<ConfusionPanel> confusions;
  const std::string slot = kLogits;
  const int64_t classes = model_.num_classes;
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::string set = set_name(path);
    const std::vector<std::string> names = label_names(path, classes);
    const std::vector<int64_t> shown = example_numbers(static_cast<int64_t>(dataset->size()));
    ClassificationCounter counter(classes);
    Outcomes outcomes;
    inference.run(dataset, fields(nullptr), EvaluationItems::kSamples, std::span(&slot, 1),
                  [&](const InferredRows& rows) {
                    const std::span<const float> all = rows.outputs.at(slot);
                    for (int64_t i = 0; i < rows.num_items; ++i) {
                      const auto sample = static_cast<int64_t>(rows.first_item) + i;
                      const std::optional<int64_t> label = dataset->record(static_cast<uint64_t>(sample)).label;
                      if (!rows.image_present[static_cast<std::size_t>(i)] || !label) continue;
                      const std::span<const float> scores =
                          all.subspan(static_cast<std::size_t>(i * classes), static_cast<std::size_t>(classes));
                      counter.add(scores, *label);
                      if (explainer.num_maps() > 0) outcomes.add(sample, *label, scores);
                      if (inference.is_first() && std::find(shown.begin(), shown.end(), sample) != shown.end()) {
                        add_example(examples, set, *dataset, sample, scores, *label, names);
                      }
                    }
                  });
    const auto chance = [&](int64_t k) {
      return share_value(static_cast<double>(std::min(k, classes)) / static_cast<double>(classes));
    };
    const double top_1 = counter.top_k_accuracy(1), top_5 = counter.top_k_accuracy(kTopK);
    std::vector<TablePanel::Row> rows{
        {"model", {share_value(top_1), share_value(top_5), share_value(counter.macro_recall())}}};
    for (TablePanel::Row& other : baseline_rows(inputs, path, {"top-1 accuracy"})) rows.push_back(std::move(other));
    rows.push_back({"chance", {chance(1), chance(kTopK), chance(1)}});
    table.subjects.push_back(
        {.name = set,
         .notes = with_lacking({fmt::format("{} pictures", counter.num_samples())}, *dataset, kNeeded),
         .rows = std::move(rows)});
    results.metrics.emplace_back(set + ": top-1 accuracy", top_1);
    results.metrics.emplace_back(set + ": top-5 accuracy", top_5);
    ConfusionPanel confusion{
        .title = "Confusion on " + set, .caption = "Rows are the true classes.", .class_names = names, .cells = {}};
    for (const ClassificationCounter::Cell& cell : counter.confusion()) {
      confusion.cells.push_back({.truth = cell.truth, .predicted = cell.predicted, .count = cell.count});
    }
    confusions.push_back(std::move(confusion));
    add_looks(looks, set, *dataset, outcomes, names, explainer, inference.is_first());
  }
  results.panels = {std::move(table)};
  for (ConfusionPanel& confusion : confusions) results.panels.emplace_back(std::move(confusion));
  results.panels.emplace_back(std::move(examples));
  results.panels.emplace_back(std::move(looks));
  return results;
}

}  // namespace

std::unique_ptr<Task> read_classify_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<ClassifyTask>(reader, mesh);
}

}  // namespace triptych::tasks
