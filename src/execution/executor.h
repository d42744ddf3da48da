#pragma once

#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "autograd/reducer.h"
#include "models/model.h"
#include "objectives/contrastive.h"
#include "parallel/pipeline/schedule.h"

namespace triptych {

/// How a step is run; the same on every rank.
struct ExecutionOptions {
  DType dtype = DType::kFloat32;
  bool training = true;  ///< drop out
  bool sequence_parallel = false;
  bool recompute = false;
  uint64_t seed = 0;
  int64_t bucket_bytes = 8 << 20;
};

/// Runs a schedule on this rank: one stage of the model, its parameters, and, on the last stage, the objective.
///
/// A contrastive loss couples all microbatches: their embeddings are gathered on the last stage, the loss is evaluated
/// once over the whole batch, and each microbatch's backward starts from its slice of dL/d embedding. So the gradient
/// of every parameter is that of one rank with the whole batch.
class PipelineExecutor {
 public:
  /// Makes this stage's parameters in `store`. The arguments passed by reference must outlive this.
  PipelineExecutor(Device& device, Mesh& mesh, ParameterStore& store, const ModelSpec& model,
                   const ContrastiveConfig& objective, const Schedule& schedule, const ExecutionOptions& options);

  /// Forward and backward of one step; afterwards every parameter of this rank has its complete gradient.
  ///   microbatches   this rank's rows, cut into as many equal pieces as the schedule has microbatches
  ///   step           of the run: the key of its random numbers
  ///   loss_scale     one float32 in device memory that all gradients come out multiplied by; null: 1
  /// Returns the loss's summand of this rank, float64 [1] on the device: the loss is the sum over `dp` on the last
  /// stage; undefined elsewhere. The host does not wait for the device.
  Tensor run_step(std::span<const Fields> microbatches, int64_t step, const float* loss_scale = nullptr);

  /// A forward pass alone, without dropout, for evaluation: the slots "image_embedding" and "text_embedding" on the
  /// last stage, nothing elsewhere. Collective over the pipeline.
  std::pair<Tensor, Tensor> embed(const Fields& data);

  /// Names of the fields that this stage's blocks read, in the order in which they are first read.
  std::vector<std::string> fields() const;
  /// On the last stage, else null.
  ContrastiveObjective* objective() const { return objective_.get(); }

 private:
  using Values = std::map<std::string, Variable>;
  struct Kept {
    Values inputs, outputs;
  };

  bool is_last_stage() const { return stage_ + 1 == num_stages_; }
  Pass make_pass(int64_t step, int64_t first_sample, bool record);
  Layout slot_layout(const Slot& slot, const Pass& pass) const;
  Values forward(const Values& inputs, const Fields& data, const Pass& pass);
  Values receive_activations(int64_t num_samples, const Pass& pass, bool as_leaves);
  void send_activations(const Values& outputs, const Pass& pass);
  void evaluate_loss(const Pass& pass, const float* loss_scale);
  void run_backward(int microbatch, const Pass& pass);
  void send(const Tensor& tensor, int stage, int tag);
  void finish_sends();

  Device* device_;
  Mesh* mesh_;
  ExecutionOptions options_;
  Schedule schedule_;
  int stage_, num_stages_;
  std::vector<BlockSpec> specs_;  // of this stage's blocks
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<Slot> slots_in_, slots_out_;
  std::unique_ptr<ContrastiveObjective> objective_;
  std::unique_ptr<Reducer> reducer_;
  Tensor one_;  // float32 [1]: the loss scale where there is none

  // Of the step that runs, by microbatch.
  std::map<int, Values> arrived_, ready_;
  std::map<int, Kept> kept_;
  std::map<int, std::vector<Gradient>> gradients_in_, gradients_out_;
  std::vector<Values> embeddings_;
  Tensor loss_;
  std::deque<std::pair<std::shared_ptr<Pending>, Tensor>> sends_;
};

}  // namespace triptych
