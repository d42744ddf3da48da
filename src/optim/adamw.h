#pragma once

#include <span>
#include <vector>

#include "autograd/parameter.h"

namespace triptych {

struct AdamWOptions {
  float beta1 = 0.9f;
  float beta2 = 0.98f;
  float epsilon = 1e-8f;
  float weight_decay = 0.1f;  ///< decoupled; of parameters with `decay` alone (no norms, biases, temperature)
};

/// AdamW (Loshchilov and Hutter 2019) over the parameters that this rank holds. The two moments are tensors laid out as
/// their parameter, so a checkpoint saves them like weights.
class AdamW {
 public:
  struct State {
    Parameter* parameter;
    Tensor first_moment, second_moment;  ///< float32
  };

  AdamW(Device& device, std::span<Parameter* const> parameters, const AdamWOptions& options);

  /// One update from the parameters' gradients times `gradient_scale`; writes the compute copies as well.
  ///   update   counts the updates, from 1: the bias correction
  void step(float learning_rate, float gradient_scale, int64_t update);

  std::span<State> states() { return states_; }

 private:
  Device* device_;
  AdamWOptions options_;
  std::vector<State> states_;
};

/// The sum over this rank's gradients of their squares, each global element counted on one rank only: the sum over all
/// ranks of the mesh is the square of the global norm. Not finite if a gradient is not.
double sum_of_squared_gradients(Device& device, const Mesh& mesh, std::span<Parameter* const> parameters);

}  // namespace triptych
