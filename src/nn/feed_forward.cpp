#include "nn/feed_forward.h"

#include <vector>

#include "ops/border_linear.h"

namespace triptych::nn {
namespace {

// The first product makes one array of inner width, or two side by side.
Shape gated(Activation activation, const Shape& shape) {
  if (!is_gated(activation)) return shape;
  std::vector<int64_t> dims = shape.to_vector();
  dims.insert(dims.begin(), 2);
  return Shape(dims);
}

}  // namespace

FeedForward::FeedForward(ParameterStore& store, const std::string& name, const Config& config, float scale)
    : config_(config) {
  const int64_t h = config.width, f = config.inner;
  const auto make = [&](std::string_view part, const Shape& shape, const ParameterSpec& spec, std::string_view place) {
    return &store.create(fmt::format("{}.{}", name, part), shape, fmt::format("feed_forward.{}", place), spec);
  };
  const bool is_pair = is_gated(config.activation);
  in_weight_ = make("in.weight", gated(config.activation, Shape{f, h}), linear_matrix(h),
                    is_pair ? "gated_in.weight" : "in.weight");
  if (config.biases)
    in_bias_ = make("in.bias", gated(config.activation, Shape{f}), {}, is_pair ? "gated_in.bias" : "in.bias");
  out_weight_ = make("out.weight", Shape{h, f}, linear_matrix(f, scale), "out.weight");
  if (config.biases) out_bias_ = make("out.bias", Shape{h}, {}, "out.bias");
}

Variable FeedForward::forward(const Variable& x, const Pass& pass, const Places& places) const {
  const Variable h = pass.enter(x, *in_weight_, in_bias_, places.inside).y;
  return leaving_activated_linear(h, pass.use(*out_weight_), config_.activation, pass.dtype,
                                  pass.border(places.outside));
}

double FeedForward::forward_flops(const Config& config, int64_t sequence) {
  const double products = is_gated(config.activation) ? 3 : 2;
  return static_cast<double>(sequence) * 2 * products * static_cast<double>(config.width) *
         static_cast<double>(config.inner);
}

}  // namespace triptych::nn
