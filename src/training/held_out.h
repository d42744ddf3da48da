#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "evaluation/inference.h"
#include "optim/adamw.h"
#include "parallel/agreement.h"
#include "report/evaluation_log.h"
#include "training/session.h"

// What a run's model is worth on data that it does not learn from: what `triptych eval` tells of a checkpoint, and what
// training finds out on its way.

namespace triptych::training {

/// How forward passes of an evaluation are made.
InferenceOptions inference_options(const RunConfig& config);

/// Opens evaluation.sets and throws UserError if there are none, or one lacks what the task measures (with a probe,
/// which measures something else, nobody asks for that). Returns what all ranks must have in common.
std::vector<SharedFact> check_evaluation_sets(const RunConfig& config, bool is_probe = false);

/// What the task measures on evaluation.sets, then the loss on each ("unseen style: loss", and where there are several
/// objectives "unseen style: loss.contrastive" of each). Collective; the results are rank 0's.
EvaluationResults measure_sets(const RunConfig& config, Inference& inference, const EvaluationInputs& inputs);

/// Evaluations while a run goes on, on the run's own mesh: which are due, which weights they are of, which was the best
/// and when it is enough. They change no bit of what is trained. Every rank has one, and all decide alike.
class HeldOut {
 public:
  /// Everything passed by reference outlives this.
  ///   tokenizer   the run's; null if the task reads no text
  ///   saved       of the checkpoint that the run goes on from (`state`); null: a new run
  HeldOut(const RunConfig& config, Session& session, AdamW& optimizer, std::shared_ptr<const Tokenizer> tokenizer,
          const ManifestValues* saved);

  /// What is to be said of the beginning: that the best so far counts no more, since another metric is asked for.
  const std::vector<std::string>& notes() const { return notes_; }

  /// After so many updates: every evaluation.every, and behind the run's last.
  bool is_due(int64_t step) const;
  /// Measures the model after `step` updates: the averages of the weights where evaluation.weights says so. Step 0,
  /// before the first update, is measured and never the best. Collective: rank 0 gets all of the line, others what they
  /// need for is_best. Throws UserError on every rank if evaluation.best is of no metric that there is.
  EvaluationLine measure(int64_t step);
  /// Whether so many evaluations in a row as evaluation.patience says were no better than the best.
  bool is_exhausted() const;
  /// Evaluations since the best.
  int64_t since_best() const { return since_best_; }
  /// After which the best was measured; -1: there is none yet.
  int64_t best_step() const { return best_step_; }

  /// What a checkpoint keeps of it, so that a run that goes on decides as one that never stopped.
  void save(ManifestValues& extra) const;

 private:
  void judge(EvaluationLine& line);

  const RunConfig* config_;
  Session* session_;
  AdamW* optimizer_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  Inference inference_;
  std::vector<std::string> notes_;
  int64_t best_step_ = -1;
  double best_ = 0;
  int64_t since_best_ = 0;
};

/// One line of what an evaluation found: the losses, and the metric that decides.
std::string evaluation_text(const EvaluationLine& line, const std::string& metric);

}  // namespace triptych::training
