#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "evaluation/inference.h"
#include "parallel/world.h"
#include "training/session.h"

namespace triptych::training {

/// A run's model out of a checkpoint of any mesh, for evaluation and search. Collective.
class TrainedModel {
 public:
  /// With the weights that evaluation.weights names. Throws UserError if there is no such checkpoint in run.dir, it is
  /// of another model, it lacks these weights, or its numbers are not finite.
  TrainedModel(const RunConfig& config, World& world, const std::string& checkpoint);

  const std::filesystem::path& folder() const { return folder_; }  ///< the checkpoint's
  int64_t step() const { return step_; }
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }
  Inference& inference() { return *inference_; }
  Session& session() { return *session_; }

 private:
  std::filesystem::path folder_;
  int64_t step_ = 0;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<Session> session_;
  std::unique_ptr<Inference> inference_;
};

}  // namespace triptych::training
