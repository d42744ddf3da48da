#pragma once

#include <map>
#include <span>
#include <vector>

#include "autograd/parameter.h"
#include "kernels/optimizer.h"
#include "optim/treatment.h"

namespace triptych::optim {

struct AdamWOptions {
  float beta1 = 0.9f;
  float beta2 = 0.98f;
  float epsilon = 1e-8f;
  float weight_decay = 0.1f;  ///< decoupled; of parameters with `decay` alone (no norms, biases, scalars)
  double clip_norm = 1;       ///< gradients are scaled down to this global norm; 0: never
  bool scale_loss = false;    ///< dynamic loss scaling, for float16
  double average_decay = 0;   ///< of the moving average of the weights; 0: none is kept
};

/// AdamW (Loshchilov and Hutter 2019) over the parameters that this rank holds. The two moments are tensors laid out as
/// their parameter's value, so a checkpoint saves them like weights. Whether a step is applied is decided on the
/// device, from numbers that all ranks have alike: the host never waits for them.
///
/// A parameter has moments from the first update on that it is trained in. They are zero then, and its updates are
/// counted from there, since the bias correction by 1 - beta^n is right for moments of n gradients alone. With the
/// run's count the first update of a thawed parameter would be (1 - beta1) / sqrt(1 - beta2) learning rates long: 0.7
/// with betas of 0.9 and 0.98, 3.2 with 0.9 and 0.999.
///
/// The average is average_decay of what it was and 1 - average_decay of the parameter, after each update that is
/// applied (kernels/weight_average.h). It begins as the parameter is when it is first trained.
class AdamW {
 public:
  struct State {
    Parameter* parameter;
    Tensor first_moment, second_moment;  ///< float32; undefined until it is trained
    Tensor average;                      ///< the same, undefined where none is kept
    Treatment treatment;
  };

  /// Parameters that are trained now have moments at once, with the updates of the run's beginning.
  AdamW(Device& device, std::span<Parameter* const> parameters, const AdamWOptions& options,
        const Treatments& treatments = {});

  /// Makes the moments and the average of parameters that are trained by now, `step` steps being done, and have none.
  void thaw(int64_t step);

  /// One update from the trained parameters' gradients; writes the compute copies and the averages as well. Changes
  /// nothing but the counts if the loss or the norm is not finite.
  ///   learning_rate        of parameters whose treatment does not scale it
  ///   loss, squared_norm   over the global batch and all ranks, on the device; the norm of the gradients as they are
  ///   norm                 assigned: the norm without the loss scale
  void step(double learning_rate, const double* loss, const double* squared_norm, double* norm);

  std::span<State> states() { return states_; }
  /// In device memory.
  const UpdateState* update_state() const { return reinterpret_cast<const UpdateState*>(update_.data<uint8_t>()); }
  /// What the loss's gradient is to be multiplied by when a backward starts: one float32 in device memory.
  const float* loss_scale() const { return &update_state()->loss_scale; }
  /// To go on after so many updates, skipped steps and with this loss scale (0: the one that a run begins with).
  void restore(int64_t num_updates, int64_t num_skipped, float loss_scale);
  /// The same of those that thawed at a step, by that: how many updates they have had. After `restore`.
  void restore_thawed(const std::map<int64_t, int64_t>& num_updates);
  /// As restore_thawed takes it. Waits for the device.
  std::map<int64_t, int64_t> thawed_updates() const;

 private:
  static UpdateState* state_of(const Tensor& update) { return reinterpret_cast<UpdateState*>(update.data<uint8_t>()); }
  void make_state(State& state);
  void average_weights();

  Device* device_;
  AdamWOptions options_;
  std::vector<State> states_;
  Tensor update_;  // UpdateState
  // The same of those that thaw at a step, undefined until then: alike but for the number of updates. On every rank, be
  // its own parameters others.
  std::map<int64_t, Tensor> thawed_;
};

/// *sum = the sum over this rank's trained parameters' gradients of their squares, in device memory, each global
/// element counted on one rank only: the sum over all ranks of the mesh is the square of the global norm. Not finite if
/// a gradient is not.
void sum_of_squared_gradients(Device& device, const Mesh& mesh, std::span<Parameter* const> parameters, double* sum);

}  // namespace triptych::optim
