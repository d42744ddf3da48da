#include "optim/adamw.h"

#include <algorithm>
#include <map>

#include "kernels/weight_average.h"

namespace triptych::optim {
namespace {

// Of dynamic loss scaling (Micikevicius et al. 2018): high at first, since it falls fast and rises slowly.
constexpr float kFirstLossScale = 65536;
constexpr int32_t kGrowthInterval = 2000;

}  // namespace

AdamW::AdamW(Device& device, std::span<Parameter* const> parameters, const AdamWOptions& options,
             const Treatments& treatments)
    : device_(&device),
      options_(options),
      update_(Tensor::empty(device, DType::kUInt8, Shape{static_cast<int64_t>(sizeof(UpdateState))})) {
  for (Parameter* parameter : parameters) {
    State& state = states_.emplace_back(State{.parameter = parameter, .treatment = treatments.of(parameter->name)});
    if (state.treatment.first_step == 0) make_state(state);
  }
  for (const int64_t step : treatments.thaw_steps()) thawed_[step] = Tensor();
  restore(0, 0, 0);
}

void AdamW::make_state(State& state) {
  const Tensor& value = state.parameter->value;
  for (Tensor* moment : {&state.first_moment, &state.second_moment}) {
    *moment = Tensor::zeros(*device_, DType::kFloat32, value.shape(), MemoryPart::kOptimizerState);
  }
  if (options_.average_decay == 0) return;
  state.average = Tensor::empty(*device_, DType::kFloat32, value.shape(), MemoryPart::kOptimizerState);
  state.average.copy_from(value);
}

void AdamW::thaw(int64_t step) {
  for (State& state : states_) {
    const int64_t first = state.treatment.first_step;
    if (first <= step && !state.first_moment.defined()) make_state(state);
  }
  for (auto& [first, update] : thawed_) {
    if (first > step || update.defined()) continue;
    update = update_.clone();
    const int64_t none = 0;
    device_->write(&state_of(update)->num_updates, &none, sizeof none);
  }
}

void AdamW::restore(int64_t num_updates, int64_t num_skipped, float loss_scale) {
  const float first = options_.scale_loss ? kFirstLossScale : 1;
  const UpdateState state{.num_updates = num_updates,
                          .num_skipped = num_skipped,
                          .loss_scale = options_.scale_loss && loss_scale > 0 ? loss_scale : first};
  device_->write(update_.raw(), &state, sizeof state);
}

void AdamW::restore_thawed(const std::map<int64_t, int64_t>& num_updates) {
  for (const auto& [first, update] : thawed_) {
    if (!update.defined()) continue;
    device_->copy(update.raw(), update_.raw(), sizeof(UpdateState));
    const int64_t count = num_updates.at(first);
    device_->write(&state_of(update)->num_updates, &count, sizeof count);
  }
}

std::map<int64_t, int64_t> AdamW::thawed_updates() const {
  std::map<int64_t, int64_t> result;
  for (const auto& [first, update] : thawed_) {
    if (!update.defined()) continue;
    device_->read(&result[first], &state_of(update)->num_updates, sizeof(int64_t));
  }
  return result;
}

void AdamW::step(double learning_rate, const double* loss, const double* squared_norm, double* norm) {
  // The same decision for each count of updates, from the same numbers.
  const auto decide = [&](const Tensor& update) {
    decide_update(device_->stream(), {.loss = loss,
                                      .squared_norm = squared_norm,
                                      .norm = norm,
                                      .clip_norm = options_.clip_norm,
                                      .state = state_of(update),
                                      .growth_interval = options_.scale_loss ? kGrowthInterval : 0});
  };
  decide(update_);
  for (const auto& [first, update] : thawed_) {
    if (update.defined()) decide(update);
  }
  using Rates = std::map<float, std::vector<AdamWTensor>>;
  std::map<int64_t, Rates> tensors;  // by the step from which they are trained, and the learning rate
  for (const State& state : states_) {
    const Parameter& p = *state.parameter;
    if (!p.is_trained) continue;
    const bool has_copy = !p.is_sharded() && p.compute.dtype() != DType::kFloat32;
    const float rate = static_cast<float>(learning_rate * state.treatment.learning_rate_scale);
    const float weight_decay = state.treatment.weight_decay.value_or(options_.weight_decay);
    tensors[state.treatment.first_step][rate].push_back({.master = p.value.data<float>(),
                                                         .m = state.first_moment.data<float>(),
                                                         .v = state.second_moment.data<float>(),
                                                         .grad = p.reduced.data<float>(),
                                                         .copy = has_copy ? p.compute.raw() : nullptr,
                                                         .copy_dtype = p.compute.dtype(),
                                                         .n = p.value.num_elements(),
                                                         .weight_decay = p.decay ? weight_decay : 0.0f,
                                                         .maximum = p.maximum});
  }
  for (const auto& [first, rates] : tensors) {
    for (const auto& [rate, of_rate] : rates) {
      adamw(device_->stream(), {.tensors = of_rate,
                                .lr = rate,
                                .beta1 = options_.beta1,
                                .beta2 = options_.beta2,
                                .eps = options_.epsilon,
                                .state = state_of(first == 0 ? update_ : thawed_.at(first))});
    }
  }
  average_weights();
}

// Whether the step is applied is the same for each count of updates.
void AdamW::average_weights() {
  std::vector<AverageTensor> tensors;
  for (const State& state : states_) {
    const Parameter& p = *state.parameter;
    if (!p.is_trained || !state.average.defined()) continue;
    tensors.push_back(
        {.average = state.average.data<float>(), .value = p.value.data<float>(), .n = p.value.num_elements()});
  }
  if (tensors.empty()) return;
  update_averages(device_->stream(), {.tensors = tensors, .decay = options_.average_decay, .state = state_of(update_)});
}

void sum_of_squared_gradients(Device& device, const Mesh& mesh, std::span<Parameter* const> parameters, double* sum) {
  std::vector<FloatSpan> mine;
  for (const Parameter* p : parameters) {
    if (p->is_trained && p->is_first_copy && holds_first_copy(p->kept, mesh)) {
      mine.push_back({p->reduced.data<float>(), p->reduced.num_elements()});
    }
  }
  sum_of_squares(device.stream(), mine, sum);
}

}  // namespace triptych::optim
