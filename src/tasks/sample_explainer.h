#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "evaluation/inference.h"
#include "report/panel.h"
#include "tasks/explain.h"

namespace triptych::tasks {

/// Shows in an evaluation's report where the model looks: what `Task::explain` finds in samples of the sets.
class SampleExplainer {
 public:
  /// All must outlive this.
  SampleExplainer(const Task& task, Inference& inference, const EvaluationInputs& inputs)
      : task_(&task), inference_(&inference), inputs_(&inputs) {}

  /// How many pictures of a set are to be explained at most: 0 if the task cannot.
  int64_t num_maps() const { return task_->can_explain() ? inputs_->maps : 0; }
  /// One sample, with a text where the model reads one. Collective, with the same sample on every rank: all take image
  /// and text as the first rank has them. Nothing if that cannot read the image any more, or the sample has none.
  std::optional<Explanation> explain(const Dataset& dataset, int64_t sample, std::string text = {}) const;

 private:
  const Task* task_;
  Inference* inference_;
  const EvaluationInputs* inputs_;
};

/// As an example of a report has it: where the model looked for what it said, one map named by it.
std::vector<ReportPicture> relevance_picture(const Explanation& explanation, const std::string& said);

/// The same for each word of a text, of a long one the first.
std::vector<ReportPicture> word_pictures(const Explanation& explanation);

}  // namespace triptych::tasks
