#include "training/finite.h"

#include <cmath>
#include <utility>
#include <vector>

namespace triptych::training {
namespace {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

bool are_finite(Device& device, std::span<const std::pair<std::string, Tensor>> tensors) {
  std::vector<FloatSpan> spans;
  for (const auto& [name, tensor] : tensors) spans.push_back({tensor.data<float>(), tensor.num_elements()});
  const Tensor sum = Tensor::zeros(device, DType::kFloat64, Shape{1});
  sum_of_squares(device.stream(), spans, sum.data<double>());
  double squares = 0;
  device.read(&squares, sum.raw(), sizeof squares);
  return std::isfinite(squares);
}

std::string first_not_finite(Device& device, const NamedTensors& tensors) {
  if (are_finite(device, tensors)) return "";
  for (const auto& tensor : tensors) {
    if (!are_finite(device, std::span(&tensor, 1))) return tensor.first;
  }
  throw InternalError("training", "numbers that are finite one by one have an infinite sum");
}

}  // namespace

std::string first_not_finite(Device& device, std::span<const AdamW::State> states) {
  NamedTensors tensors;
  for (const AdamW::State& state : states) {
    tensors.emplace_back(state.parameter->name, state.parameter->value);
    if (!state.first_moment.defined()) continue;
    tensors.emplace_back("the first moment of " + state.parameter->name, state.first_moment);
    tensors.emplace_back("the second moment of " + state.parameter->name, state.second_moment);
    if (state.average.defined()) tensors.emplace_back("the average of " + state.parameter->name, state.average);
  }
  return first_not_finite(device, tensors);
}

std::string first_not_finite(Session& session) {
  NamedTensors tensors;
  for (const Parameter* parameter : session.store().all()) tensors.emplace_back(parameter->name, parameter->value);
  return first_not_finite(session.device(), tensors);
}

void require_finite_model(const std::string& not_finite, const std::filesystem::path& checkpoint) {
  if (not_finite.empty()) return;
  throw UserError(checkpoint.string(),
                  fmt::format("every number of the model must be finite, {} holds an infinity or NaN: whatever it is "
                              "given, it computes nothing. Use an earlier checkpoint",
                              not_finite));
}

}  // namespace triptych::training
