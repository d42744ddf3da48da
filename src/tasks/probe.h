#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "evaluation/logistic_regression.h"
#include "models/image_encoder.h"
#include "tasks/task.h"

// How good a model's features are for classes that it was not taught: a linear classifier over them, the model as it
// is.

namespace triptych::tasks {

struct ProbeOptions {
  std::vector<int64_t> shots;  ///< samples a class that a classifier learns from; beside it one learns from all
  int64_t draws = 5;           ///< of each number of shots
  uint64_t seed = 1;           ///< of the draws
  LogisticRegressionOptions regression;
};

struct ProbeInputs {
  std::string training_set;                    ///< what classifiers learn from: a data-set folder with labels
  std::vector<std::string> sets;               ///< what they are measured on
  std::shared_ptr<const Tokenizer> tokenizer;  ///< null if the task reads no text
};

/// The features of an image encoder: its last block's class token, the mean of its tokens, or what attention pools.
FeatureSlot image_features(const ImageEncoderConfig& config);

/// Throws UserError if the task has no features, or a set no labelled images.
void check_probe(const Task& task, const ProbeInputs& inputs);

/// A linear probe, and few-shot classification: the shares of each set that are classified right. Classifiers are
/// fitted on the first rank, in double precision (logistic_regression.h). Collective.
EvaluationResults probe_features(const Task& task, Inference& inference, const ProbeInputs& inputs,
                                 const ProbeOptions& options);

/// Rows of `labels`: `shots` of each class, drawn without replacement by (seed, draw), all of a class that has fewer;
/// in ascending order.
std::vector<int64_t> draw_shots(const std::vector<int32_t>& labels, int64_t shots, uint64_t seed, int64_t draw);

/// The mean, and the standard deviation of single values around it (with n - 1; 0 of one).
struct MeanAndDeviation {
  double mean = 0, deviation = 0;
};
MeanAndDeviation mean_and_deviation(const std::vector<double>& values);

}  // namespace triptych::tasks
