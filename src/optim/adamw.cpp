#include "optim/adamw.h"

#include <algorithm>

namespace triptych::optim {
namespace {

// Of dynamic loss scaling (Micikevicius et al. 2018): high at first, since it falls fast and rises slowly.
constexpr float kFirstLossScale = 65536;
constexpr int32_t kGrowthInterval = 2000;

}  // namespace

AdamW::AdamW(Device& device, std::span<Parameter* const> parameters, const AdamWOptions& options)
    : device_(&device),
      options_(options),
      update_(Tensor::empty(device, DType::kUInt8, Shape{static_cast<int64_t>(sizeof(UpdateState))})) {
  for (Parameter* parameter : parameters) {
    const auto moment = [&] {
      return Tensor::zeros(device, DType::kFloat32, parameter->value.shape(), MemoryPart::kOptimizerState);
    };
    states_.push_back({parameter, moment(), moment()});
  }
  restore(0, 0, 0);
}

void AdamW::restore(int64_t num_updates, int64_t num_skipped, float loss_scale) {
  const float first = options_.scale_loss ? kFirstLossScale : 1;
  const UpdateState state{.num_updates = num_updates,
                          .num_skipped = num_skipped,
                          .loss_scale = options_.scale_loss && loss_scale > 0 ? loss_scale : first};
  device_->write(update_.raw(), &state, sizeof state);
}

void AdamW::step(float learning_rate, const double* loss, const double* squared_norm, double* norm) {
  auto* update = reinterpret_cast<UpdateState*>(update_.data<uint8_t>());
  decide_update(device_->stream(), {.loss = loss,
                                    .squared_norm = squared_norm,
                                    .norm = norm,
                                    .clip_norm = options_.clip_norm,
                                    .state = update,
                                    .growth_interval = options_.scale_loss ? kGrowthInterval : 0});
  std::vector<AdamWTensor> tensors;
  tensors.reserve(states_.size());
  for (const State& state : states_) {
    const Parameter& p = *state.parameter;
    const bool has_copy = p.compute.dtype() != DType::kFloat32;
    tensors.push_back({.master = p.value.data<float>(),
                       .m = state.first_moment.data<float>(),
                       .v = state.second_moment.data<float>(),
                       .grad = p.gradient.tensor().data<float>(),
                       .copy = has_copy ? p.compute.raw() : nullptr,
                       .copy_dtype = p.compute.dtype(),
                       .n = p.value.num_elements(),
                       .weight_decay = p.decay ? options_.weight_decay : 0.0f,
                       .maximum = p.maximum});
  }
  adamw(device_->stream(), {.tensors = tensors,
                            .lr = learning_rate,
                            .beta1 = options_.beta1,
                            .beta2 = options_.beta2,
                            .eps = options_.epsilon,
                            .state = update});
}

void sum_of_squared_gradients(Device& device, const Mesh& mesh, std::span<Parameter* const> parameters, double* sum) {
  std::vector<FloatSpan> mine;
  for (const Parameter* p : parameters) {
    if (p->is_first_copy && holds_first_copy(p->layout, mesh)) {
      mine.push_back({p->gradient.tensor().data<float>(), p->gradient.tensor().num_elements()});
    }
  }
  sum_of_squares(device.stream(), mine, sum);
}

}  // namespace triptych::optim
