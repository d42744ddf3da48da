#include "optim/adamw.h"

#include <algorithm>
#include <cmath>

#include "kernels/optimizer.h"

namespace triptych {

AdamW::AdamW(Device& device, std::span<Parameter* const> parameters, const AdamWOptions& options)
    : device_(&device), options_(options) {
  for (Parameter* parameter : parameters) {
    states_.push_back({parameter, Tensor::zeros(device, DType::kFloat32, parameter->value.shape()),
                       Tensor::zeros(device, DType::kFloat32, parameter->value.shape())});
  }
}

void AdamW::step(float learning_rate, float gradient_scale, int64_t update) {
  for (const State& state : states_) {
    Parameter& p = *state.parameter;
    const bool has_copy = p.compute.dtype() == DType::kBFloat16;
    float* value = p.value.data<float>();
    adamw(device_->stream(), {.master = value,
                              .m = state.first_moment.data<float>(),
                              .v = state.second_moment.data<float>(),
                              .grad = p.gradient.data<float>(),
                              .bf16_copy = has_copy ? p.compute.data<BFloat16>() : nullptr,
                              .n = p.value.num_elements(),
                              .lr = learning_rate,
                              .beta1 = options_.beta1,
                              .beta2 = options_.beta2,
                              .eps = options_.epsilon,
                              .weight_decay = p.decay ? options_.weight_decay : 0.0f,
                              .step = update,
                              .grad_scale = gradient_scale});
    if (std::isfinite(p.maximum)) {
      for (int64_t i = 0; i < p.value.num_elements(); ++i) value[i] = std::min(value[i], p.maximum);
    }
  }
}

double sum_of_squared_gradients(Device& device, const Mesh& mesh, std::span<Parameter* const> parameters) {
  double sum = 0;
  for (const Parameter* p : parameters) {
    const bool mine = std::all_of(kAxes.begin(), kAxes.end(),
                                  [&](Axis axis) { return p->layout[axis].is_shard() || mesh.rank(axis) == 0; });
    if (mine) sum += sum_of_squares(device.stream(), p->gradient.data<float>(), p->gradient.num_elements());
  }
  return sum;
}

}  // namespace triptych
