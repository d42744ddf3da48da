#include "tests/tasks/rotation/rotation_task.h"

#include <algorithm>

#include "evaluation/classification_metrics.h"
#include "evaluation/inference.h"
#include "models/image_encoder.h"
#include "objectives/cross_entropy.h"
#include "tasks/model_config.h"
#include "tasks/results.h"
#include "tasks/standard_tasks.h"

namespace triptych::test {
namespace {

constexpr const char* kScores = "rotation_scores";

class RotationTask : public Task {
 public:
  RotationTask(ConfigReader& reader, const MeshShape& mesh) {
    read_dropout(reader, encoder_.dropout);
    read_image_encoder(reader, encoder_, true, mesh);
    read_augmentation(reader, augment_);
  }

  ModelSpec model() const override;
  std::vector<ObjectiveSpec> objectives() const override {
    return {cross_entropy_objective({.name = "rotation", .slot = kScores, .field = "rotation"})};
  }
  std::vector<FieldSource> fields(std::shared_ptr<const Tokenizer>) const override {
    return {rotation_fields(encoder_.size, augment_)};
  }
  void check_data(const Dataset& dataset) const override {
    require_parts(dataset, {.images = true}, "rotation prediction");
  }
  void check_evaluation_set(const Dataset& dataset) const override { check_data(dataset); }
  EvaluationResults evaluate(Inference& inference, const EvaluationInputs& inputs) const override;

 private:
  ImageEncoderConfig encoder_;
  AugmentOptions augment_;
};

// The image encoder and a head over its pooled state.
ModelSpec RotationTask::model() const {
  ModelSpec model;
  append_image_encoder(model.blocks, encoder_);
  const TransformerSizes sizes = encoder_.sizes;
  const double flops = ProjectionHead::forward_flops(sizes.width, kNumTurns);
  const auto forward = [pooling = encoder_.pooling](const ProjectionHead& head, std::span<const Variable> inputs,
                                                    const Fields&, const Pass& pass) {
    return head.forward(pool_image(inputs[0], pooling, pass), pass);
  };
  model.blocks.push_back(
      {.name = "rotation.head",
       .reads = {"image"},
       .writes = {{.name = kScores, .dims = {kNumTurns}, .place = "batch", .dtype = DType::kFloat32}},
       .forward_flops = flops,
       .backward_flops = 2 * flops,
       .make = [=](ParameterStore& store) {
         return make_block(ProjectionHead(store, "rotation.head", sizes.width, kNumTurns, sizes.last_norm()), forward);
       }});
  model.fingerprint = fmt::format("rotation image({})", encoder_.to_string());
  return model;
}

EvaluationResults RotationTask::evaluate(Inference& inference, const EvaluationInputs& inputs) const {
  EvaluationResults results;
  TablePanel table{.title = "Rotation",
                   .caption = "The share of turned pictures whose turn is recognised.",
                   .subject_head = "Set",
                   .columns = {"Accuracy"},
                   .subjects = {}};
  const std::string slot = kScores;
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    ClassificationCounter counter(kNumTurns);
    inference.run(dataset, fields(nullptr), EvaluationItems::kSamples, std::span(&slot, 1),
                  [&](const InferredRows& rows) {
                    const std::span<const float> scores = rows.outputs.at(slot);
                    for (int64_t i = 0; i < rows.num_items; ++i) {
                      if (!rows.image_present[static_cast<std::size_t>(i)]) continue;
                      counter.add(scores.subspan(static_cast<std::size_t>(i * kNumTurns), kNumTurns),
                                  quarter_turns(0, rows.first_item + static_cast<uint64_t>(i)));
                    }
                  });
    const std::string set = set_name(path);
    const double accuracy = counter.top_k_accuracy(1);
    table.subjects.push_back(
        {.name = set,
         .notes = {fmt::format("{} pictures", counter.num_samples())},
         .rows = {{"model", {share_value(accuracy)}}, {"chance", {share_value(1.0 / kNumTurns)}}}});
    results.metrics.emplace_back(set + ": accuracy", accuracy);
  }
  results.panels = {std::move(table)};
  return results;
}

}  // namespace

std::unique_ptr<Task> read_rotation_task(ConfigReader& reader, const MeshShape& mesh) {
  return std::make_unique<RotationTask>(reader, mesh);
}

TaskTable tasks_with_rotation() {
  static const std::vector<TaskKind> all = [] {
    std::vector<TaskKind> kinds(standard_tasks().begin(), standard_tasks().end());
    kinds.push_back({"rotation", "an image encoder that tells how far a picture was turned", read_rotation_task});
    return kinds;
  }();
  return all;
}

}  // namespace triptych::test
