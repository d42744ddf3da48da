#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "autograd/backward.h"
#include "autograd/reducer.h"
#include "execution/gradient_flow.h"
#include "execution/losses.h"
#include "execution/stage.h"
#include "execution/step_values.h"
#include "parallel/pipeline/schedule.h"

namespace triptych::execution {

/// What ranks of dp keep a piece of each, instead of all of it (Rajbhandari et al. 2020), each with what is before it.
/// `parallel.zero` has the numbers 0 to 3.
enum class Zero : uint8_t {
  kNone,
  kOptimizerState,  ///< the masters and what the optimizer keeps
  kGradients,       ///< the gradients: no rank has all of them at any time
  kWeights,         ///< the weights: gathered for their use and given up after it
};

/// How steps are run; the same on every rank.
struct ExecutionOptions {
  DType dtype = DType::kFloat32;
  Recompute recompute = Recompute::kNone;
  std::vector<std::string> full_blocks = {};  ///< names of those that selective recomputation recomputes in full
  uint64_t seed = 0;
  int64_t bucket_bytes = 8 << 20;
  int64_t tp_pieces = 1;                   ///< see Pass
  DType gradient_dtype = DType::kFloat32;  ///< in which sums over dp travel: see make_reducer
  Zero zero = Zero::kNone;
  std::vector<std::string> cuts = {};  ///< see partition_model
};

/// A forward pass whose attentions were seen, from which gradients can go back.
struct Observation {
  Values outputs;  ///< the slots that were asked for, on the rank of the last stage
  Route route;
  std::vector<std::pair<Values, Values>> stages;  ///< what each of this rank's stages took and gave
};

/// The one interpreter of schedules: runs this rank's actions on the stages that it owns, on the last one with the
/// objectives.
///
/// A coupled loss couples all microbatches: its slots are gathered on the last stage, the loss is evaluated once over
/// the whole batch, and each microbatch's backward starts from its slice of the slots' gradients. A split loss is a
/// part of the last stage's forward. So the gradient of every parameter is that of one rank with the whole batch.
class Executor {
 public:
  /// Makes this rank's parameters in `store`. Everything passed by reference must outlive this. Collective.
  Executor(Device& device, Mesh& mesh, const Plan& plan, ParameterStore& store, const ModelSpec& model,
           std::span<const ObjectiveSpec> objectives, const Schedule& schedule, const ExecutionOptions& options);

  /// From the next step on these parameters are trained, by name; at first all are. Must be the same on every rank. No
  /// gradient is computed for what is not trained, nor of what lies below the first that is: a stage without either
  /// sends none. What was never trained has no gradient's memory; what was keeps it.
  void set_trained(const std::function<bool(const std::string&)>& is_trained);

  /// What steps do is seen by `trace` from now on, which outlives this; null: by none.
  void set_trace(Trace* trace);
  Trace* trace() const { return trace_; }

  /// Forward and backward of one step; afterwards every trained parameter of this rank has its complete gradient.
  ///   microbatches   this rank's rows, cut into as many equal pieces as the schedule has microbatches
  ///   step           of the run: the key of its random numbers
  ///   loss_scale     one float32 in device memory that all gradients come out multiplied by; null: 1
  /// Returns this rank's summands of step_values(), float64 on the device: each value is the sum over
  /// all ranks. Undefined on ranks without the last stage. The host does not wait for the device.
  Tensor run_step(std::span<const Fields> microbatches, int64_t step, const float* loss_scale = nullptr);

  /// A forward pass alone, without dropout, of the blocks that `outputs` need: these slots, on the rank of the last
  /// stage; nothing elsewhere. Collective over the pipeline.
  Values infer(const Fields& data, std::span<const std::string> outputs);

  /// The same for one token of a sequence that is being written: "tokens" [rows, 1] at the cache's position. Of the
  /// slots that the decoder attends to, `memory`, the cache keeps what it needs at position 0; later they are not
  /// computed again. The cache belongs to this rank.
  Values decode(const Fields& data, const std::string& output, const std::string& memory, DecodingCache& cache);

  /// The losses of a batch that nothing is learned of: forward passes alone, without dropout. Returns this rank's
  /// summands, float64 [2, objectives] on the device: of each objective the loss over the batch, without its weight, as
  /// a step reports it, and the number of its terms; each is the sum over all ranks. Undefined on ranks without the
  /// last stage. Collective.
  ///   microbatches   this rank's rows in any number of equal pieces
  Tensor measure_losses(std::span<const Fields> microbatches);

  /// A forward pass as `infer` makes it, of which `attentions` sees every attention that this rank computes a part of.
  /// It is recorded, so that gradients reach their outputs, even where no parameter is trained. Collective.
  Observation observe(const Fields& data, std::span<const std::string> outputs, AttentionSink& attentions);
  /// Brings gradients of such a pass's outputs back through all stages. `of_outputs`, by slot, local and laid out as
  /// gradients of the slots, counts on the rank of the last stage alone. Collective; once a pass.
  void run_backward(const Observation& seen, std::map<std::string, Gradient> of_outputs);

  /// What this rank reads of a batch, in a step and for the given slots.
  std::vector<std::string> fields() const;
  std::vector<std::string> fields(std::span<const std::string> outputs) const;
  /// Matrix-product FLOPs of one sample's step, over all stages, with the backward that the trained parameters need.
  double flops() const { return flow_.forward_flops + flow_.backward_flops; }
  /// Of the whole model and of the objectives, on every rank.
  const std::vector<PlacedParameter>& parameters() const { return parameters_; }
  /// Which rank of `pp` has the last stage: the objectives and the outputs of forward passes.
  int last_stage_rank() const { return schedule_.rank_of_stage.back(); }
  /// What a step's values are, on every rank.
  const std::vector<StepValue>& step_values() const { return step_values_; }
  /// See Objective. Empty on ranks without the last stage.
  std::map<std::string, double> gradient_magnitudes() const;

 private:
  using Place = std::pair<int, int>;  // stage, microbatch
  struct Kept {
    Values inputs, outputs;        // those from which gradients come back
    std::vector<Variable> losses;  // split ones
  };

  Pass make_pass(int64_t step, int64_t first_sample, bool record, const Plan& plan) const;
  Pass make_inference_pass(bool record, const Plan& plan) const;
  Values infer(const Fields& data, const Route& route, const Pass& pass);
  Stage& stage(int index);
  const Route& route_of(const Action& action) const;
  static bool is_embed(const Action& action) { return action.kind == Action::kEmbed || action.embed; }

  Values receive(const std::vector<Slot>& slots, int64_t num_samples, int from_stage, const Pass& pass);
  Values as_inputs(const Values& values, std::size_t boundary, bool record) const;
  void send(const Tensor& tensor, int stage, int tag);
  void send_values(const std::vector<Slot>& slots, const Values& values, int to_stage);
  void finish_sends();

  void do_forward(const Action& action, const Fields& data, const Pass& pass);
  void do_backward(const Action& action);
  void poll();
  void receive_gradients(const Action& action);
  Gradient receive_gradient(const Variable& output, int from_stage);
  Gradient gradient_to_send(const Variable& input) const;

  Device* device_;
  Mesh* mesh_;
  const Plan* plan_;
  Plan inference_plan_ = tensor_parallel_plan();  // of forward passes alone
  Plan decoding_plan_ = whole_sequence_plan();    // of those whose sequences cannot be shared out
  ExecutionOptions options_;
  const ModelSpec* model_;
  Schedule schedule_;
  std::vector<StepValue> step_values_;
  Route route_, embed_route_;  // to all slots that objectives read, and to those of coupled ones
  Route again_route_;  // of the forward behind an embed: to the slots of split objectives and those that are carried
  std::vector<std::string> split_slots_;
  GradientFlow flow_;
  std::vector<bool> is_embedded_;  // [microbatches]
  std::vector<Stage> stages_;      // this rank's
  std::unique_ptr<Losses> losses_;
  std::vector<PlacedParameter> parameters_;
  std::vector<Parameter*> own_parameters_;
  std::unique_ptr<Reducer> reducer_;
  ShardedWeights* weights_ = nullptr;  // the store's; null where every rank has all
  Trace* trace_ = nullptr;

  // Of the step that runs.
  std::map<Place, Values> arrived_, ready_;
  std::map<Place, Kept> kept_;
  std::map<Place, std::map<std::string, Gradient>> gradients_in_, gradients_out_;
  std::map<Place, WorkApart> apart_;
  std::deque<std::pair<std::shared_ptr<Pending>, Tensor>> sends_;
};

}  // namespace triptych::execution
