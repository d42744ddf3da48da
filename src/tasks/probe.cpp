#include "tasks/probe.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/philox.h"
#include "evaluation/inference.h"
#include "parallel/agreement.h"
#include "tasks/results.h"

namespace triptych::tasks {
namespace {

constexpr PartChoice kNeeded{.images = true, .labels = true};

// One vector of a slot's tokens.
std::vector<float> pooled(std::span<const float> tokens, const FeatureSlot& features) {
  const auto width = static_cast<std::size_t>(features.width);
  std::vector<float> vector(tokens.begin(), tokens.begin() + features.width);
  if (!features.is_mean) return vector;
  std::vector<double> sums(width, 0);
  for (std::size_t k = 0; k < tokens.size(); ++k) sums[k % width] += static_cast<double>(tokens[k]);
  for (std::size_t d = 0; d < width; ++d)
    vector[d] = static_cast<float>(sums[d] * static_cast<double>(width) / static_cast<double>(tokens.size()));
  return vector;
}

LabelledVectors features_of(const Task& task, Inference& inference, const ProbeInputs& inputs, const std::string& set) {
  const FeatureSlot features = task.features().value();
  const auto dataset = std::make_shared<const Dataset>(Dataset::open(set));
  LabelledVectors result{.dims = features.width, .values = {}, .labels = {}};
  inference.run(dataset, task.fields(inputs.tokenizer), EvaluationItems::kSamples, std::span(&features.slot, 1),
                [&](const InferredRows& rows) {
                  const std::span<const float> all = rows.outputs.at(features.slot);
                  const std::size_t each = all.size() / static_cast<std::size_t>(rows.num_items);
                  for (std::size_t i = 0; i < static_cast<std::size_t>(rows.num_items); ++i) {
                    const std::optional<int64_t> label = dataset->record(rows.first_item + i).label;
                    if (!rows.image_present[i] || !label) continue;
                    result.add(pooled(all.subspan(i * each, each), features), static_cast<int32_t>(*label));
                  }
                });
  return result;
}

double accuracy(const LinearClassifier& classifier, const LabelledVectors& data) {
  int64_t right = 0;
  for (int64_t i = 0; i < data.num_rows(); ++i) {
    const std::vector<double> scores = classifier.scores(data.row(i));
    const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
    right += best == data.labels[static_cast<std::size_t>(i)] ? 1 : 0;
  }
  return static_cast<double>(right) / static_cast<double>(std::max<int64_t>(1, data.num_rows()));
}

LabelledVectors rows_of(const LabelledVectors& data, const std::vector<int64_t>& rows) {
  LabelledVectors result{.dims = data.dims, .values = {}, .labels = {}};
  for (const int64_t row : rows) result.add(data.row(row), data.labels[static_cast<std::size_t>(row)]);
  return result;
}

}  // namespace

FeatureSlot image_features(const ImageEncoderConfig& config) {
  if (config.pooling == ImageEncoderConfig::Pooling::kAttention) {
    return {.slot = std::string(kPooledImage), .width = config.sizes.width};
  }
  return {
      .slot = "image", .width = config.sizes.width, .is_mean = config.pooling == ImageEncoderConfig::Pooling::kMean};
}

void check_probe(const Task& task, const ProbeInputs& inputs) {
  if (!task.features()) {
    throw UserError("task", "a model of this task has no features of pictures to probe. Probe one that has");
  }
  if (inputs.training_set.empty())
    throw UserError("data.path", "must name a data set to learn from. Set it in the config");
  require_parts(Dataset::open(inputs.training_set), kNeeded, "a linear probe");
  for (const std::string& set : inputs.sets) require_parts(Dataset::open(set), kNeeded, "a linear probe");
}

EvaluationResults probe_features(const Task& task, Inference& inference, const ProbeInputs& inputs,
                                 const ProbeOptions& options) {
  const LabelledVectors training = features_of(task, inference, inputs, inputs.training_set);
  std::vector<LabelledVectors> sets;
  for (const std::string& set : inputs.sets) sets.push_back(features_of(task, inference, inputs, set));
  together(inference.mesh().world(), [&] {
    if (training.num_rows() > 0) return;
    throw UserError(inputs.training_set,
                    "a linear probe needs samples with an image and a label, found none that can be read");
  });
  EvaluationResults results;
  if (!inference.is_first()) return results;
  const int64_t classes = 1 + *std::max_element(training.labels.begin(), training.labels.end());

  // For each kind of classifier its name, and what each draw reaches on each set.
  struct Kind {
    std::string name;
    std::vector<std::vector<double>> shares;  // [sets][draws]
  };
  std::vector<Kind> kinds;
  bool is_converged = true;
  const auto fit = [&](Kind& kind, const LabelledVectors& data) {
    const LinearClassifier classifier = fit_logistic_regression(data, classes, options.regression);
    is_converged = is_converged && classifier.is_converged;
    kind.shares.resize(sets.size());
    for (std::size_t s = 0; s < sets.size(); ++s) kind.shares[s].push_back(accuracy(classifier, sets[s]));
  };
  fit(kinds.emplace_back(Kind{fmt::format("all {}", training.num_rows()), {}}), training);
  for (const int64_t shots : options.shots) {
    Kind& kind = kinds.emplace_back(Kind{fmt::format("{} a class", shots), {}});
    for (int64_t draw = 0; draw < options.draws; ++draw) {
      fit(kind, rows_of(training, draw_shots(training.labels, shots, options.seed, draw)));
    }
  }

  TablePanel table{
      .title = "Linear probe",
      .caption = fmt::format("The share of pictures whose class a linear classifier over the model's frozen "
                             "features finds, learned from pictures of {}: all, or a few of each class, the "
                             "mean of {} draws and their deviation.{}",
                             inputs.training_set, options.draws,
                             is_converged ? "" : " Some were not at their minimum when their iterations ended."),
      .subject_head = "Set",
      .columns = {"Top-1", "Deviation"},
      .subjects = {}};
  for (std::size_t s = 0; s < sets.size(); ++s) {
    const std::string name = set_name(inputs.sets[s]);
    TablePanel::Subject subject{.name = name, .notes = {fmt::format("{} pictures", sets[s].num_rows())}, .rows = {}};
    for (const Kind& kind : kinds) {
      const MeanAndDeviation found = mean_and_deviation(kind.shares[s]);
      std::vector<TableValue> values{share_value(found.mean)};
      if (kind.shares[s].size() > 1) values.push_back(share_value(found.deviation));
      subject.rows.push_back({.source = kind.name, .values = std::move(values)});
      results.metrics.emplace_back(fmt::format("{}: top-1 accuracy of a linear probe, {}", name, kind.name),
                                   found.mean);
    }
    subject.rows.push_back({.source = "chance", .values = {share_value(1 / static_cast<double>(classes))}});
    table.subjects.push_back(std::move(subject));
  }
  results.panels = {std::move(table)};
  return results;
}

std::vector<int64_t> draw_shots(const std::vector<int32_t>& labels, int64_t shots, uint64_t seed, int64_t draw) {
  const RandomKey key = random_key(seed, "probe", static_cast<uint64_t>(draw));
  std::map<int32_t, std::vector<std::pair<uint32_t, int64_t>>> of_class;  // a random word and the row
  for (std::size_t i = 0; i < labels.size(); ++i) {
    of_class[labels[i]].emplace_back(philox_word(key, i), static_cast<int64_t>(i));
  }
  std::vector<int64_t> rows;
  for (auto& [label, all] : of_class) {
    std::sort(all.begin(), all.end());
    if (static_cast<int64_t>(all.size()) > shots) all.resize(static_cast<std::size_t>(shots));
    for (const auto& [word, row] : all) rows.push_back(row);
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

MeanAndDeviation mean_and_deviation(const std::vector<double>& values) {
  MeanAndDeviation result;
  const auto n = static_cast<double>(values.size());
  for (const double value : values) result.mean += value / n;
  if (values.size() < 2) return result;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.deviation = std::sqrt(squares / (n - 1));
  return result;
}

}  // namespace triptych::tasks
