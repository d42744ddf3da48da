#include "tasks/zero_shot_results.h"

#include <algorithm>

#include "data/class_names.h"
#include "data/field_sources.h"
#include "evaluation/classification_metrics.h"
#include "evaluation/inference.h"
#include "evaluation/zero_shot.h"
#include "tasks/results.h"
#include "tasks/text_rows.h"

namespace triptych::tasks {
namespace {

constexpr PartChoice kNeeded{.images = true, .labels = true};
constexpr int64_t kTopK = 5;
const std::string kImage = "image_embedding", kText = "text_embedding";

// Labelled images, and the names of the labels.
bool has_named_labels(const Dataset& dataset) {
  return dataset.has_images() && dataset.has_labels() && !read_class_names(dataset.path()).empty() &&
         count_samples_with(dataset, kNeeded) > 0;
}

struct Measured {
  ClassificationCounter counter;
  std::vector<ExamplesPanel::Example> examples;
};

// Goes through a set's pictures, a batch of scores at a time.
Measured measure(Inference& inference, const std::string& path, std::span<const FieldSource> sources,
                 const Embeddings& classes, const std::vector<std::string>& names) {
  const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
  const std::vector<int64_t> shown = example_numbers(static_cast<int64_t>(dataset->size()));
  const auto num_classes = static_cast<std::size_t>(classes.count());
  Measured result{ClassificationCounter(classes.count()), {}};
  const auto consume = [&](const InferredRows& rows) {
    if (!inference.is_first()) return;
    const Embeddings images{.width = classes.width, .rows = rows.outputs.at(kImage), .present = {}};
    const std::vector<float> all = similarities(inference.device(), images, 0, rows.num_items, classes);
    for (std::size_t i = 0; i < static_cast<std::size_t>(rows.num_items); ++i) {
      const uint64_t sample = rows.first_item + i;
      const std::optional<int64_t> label = dataset->record(sample).label;
      if (!rows.image_present[i] || !label) continue;
      const std::span<const float> scores = std::span(all).subspan(i * num_classes, num_classes);
      result.counter.add(scores, *label);
      if (std::find(shown.begin(), shown.end(), static_cast<int64_t>(sample)) == shown.end()) continue;
      const int64_t produced = best(scores, 1)[0];
      const std::string& truth = names[static_cast<std::size_t>(*label)];
      result.examples.push_back({.group = set_name(path),
                                 .picture = picture_of(*dataset, static_cast<int64_t>(sample), truth),
                                 .asked = {},
                                 .truth = truth,
                                 .produced = names[static_cast<std::size_t>(produced)],
                                 .score = scores[static_cast<std::size_t>(produced)],
                                 .correct = produced == *label});
    }
  };
  inference.run(dataset, sources, EvaluationItems::kSamples, std::span(&kImage, 1), consume);
  return result;
}

}  // namespace

void read_zero_shot(ConfigReader& reader, ZeroShotOptions& options) {
  reader.read(
      "evaluation.templates", options.templates,
      "Texts with {} for a class's name, such as \"a {}\": sets with labels and a classes.txt are classified by "
      "the class whose texts are nearest, the mean over the templates. None: they are not.");
  for (const std::string& text : options.templates) {
    if (text.find(kNamePlace) != std::string::npos) continue;
    reader.problem("evaluation.templates", fmt::format("each must have {{}} where the name stands, found `{}`", text),
                   "Write \"a picture of {}\", for example");
  }
}

void check_pairs_or_classes(const Dataset& dataset, const ZeroShotOptions& options) {
  if (!options.is_asked() || !has_named_labels(dataset)) {
    require_parts(dataset, kPairs, "retrieval");
    return;
  }
  const auto num_names = static_cast<int64_t>(read_class_names(dataset.path()).size());
  for (uint64_t i = 0; i < dataset.size(); ++i) {
    const std::optional<int64_t> label = dataset.record(i).label;
    if (!label || *label < num_names) continue;
    throw UserError(dataset.path().string(),
                    fmt::format("every label needs a name in classes.txt, which has {}; found label {} of {}. Add the "
                                "names, or leave evaluation.templates out",
                                num_names, *label, dataset.sample_name(i)));
  }
}

std::vector<std::string> sets_with_pairs(const std::vector<std::string>& sets) {
  std::vector<std::string> found;
  for (const std::string& path : sets) {
    if (count_samples_with(Dataset::open(path), kPairs) > 0) found.push_back(path);
  }
  return found;
}

EvaluationResults zero_shot_results(Inference& inference, const EvaluationInputs& inputs,
                                    std::span<const FieldSource> sources, const ZeroShotOptions& options) {
  EvaluationResults results;
  TablePanel table{.title = "Zero-shot classification",
                   .caption =
                       "The share of pictures whose class is among the first k by the similarity of its name in the "
                       "templates, and the mean over the classes of the share that is recognised.",
                   .subject_head = "Set",
                   .columns = {"Top-1", "Top-5", "Class mean"},
                   .subjects = {}};
  ExamplesPanel examples{.title = "Zero-shot examples", .examples = {}};
  for (const std::string& path : inputs.sets) {
    const Dataset dataset = Dataset::open(path);
    if (!has_named_labels(dataset)) continue;
    const std::vector<std::string> names = read_class_names(path);
    const Embeddings classes =
        class_embeddings(options.templates, names, inference.options().batch, [&](std::span<const std::string> texts) {
          return inference.infer(text_rows(inference.device(), *inputs.tokenizer, texts, options.text_length), kText);
        });
    Measured measured = measure(inference, path, sources, classes, names);
    if (!inference.is_first()) continue;
    const ClassificationCounter& counter = measured.counter;
    const auto chance = [&](int64_t k) {
      return share_value(static_cast<double>(std::min(k, classes.count())) / static_cast<double>(classes.count()));
    };
    const double top_1 = counter.top_k_accuracy(1), top_5 = counter.top_k_accuracy(kTopK);
    const std::string set = set_name(path);
    std::vector<TablePanel::Row> rows{
        {"model", {share_value(top_1), share_value(top_5), share_value(counter.macro_recall())}}};
    for (TablePanel::Row& other : baseline_rows(inputs, path, {"top-1 accuracy"})) rows.push_back(std::move(other));
    rows.push_back({"most frequent class", {share_value(counter.most_frequent_share())}});
    rows.push_back({"chance", {chance(1), chance(kTopK), chance(1)}});
    table.subjects.push_back({.name = set,
                              .notes = with_lacking({fmt::format("{} pictures", counter.num_samples()),
                                                     fmt::format("{} classes", names.size()),
                                                     fmt::format("{} templates", options.templates.size())},
                                                    dataset, kNeeded),
                              .rows = std::move(rows)});
    results.metrics.emplace_back(set + ": zero-shot top-1 accuracy", top_1);
    results.metrics.emplace_back(set + ": zero-shot top-5 accuracy", top_5);
    results.metrics.emplace_back(set + ": zero-shot class mean", counter.macro_recall());
    std::move(measured.examples.begin(), measured.examples.end(), std::back_inserter(examples.examples));
  }
  if (!table.subjects.empty()) results.panels = {std::move(table), std::move(examples)};
  return results;
}

}  // namespace triptych::tasks
