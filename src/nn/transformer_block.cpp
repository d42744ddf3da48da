#include "nn/transformer_block.h"

#include <cmath>

#include "autograd/recompute.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/redistribute.h"

namespace triptych {

TransformerBlock::TransformerBlock(ParameterStore& store, const std::string& name, const TransformerBlockConfig& config,
                                   bool sequence_parallel)
    : name_(name), config_(config) {
  const int64_t h = config.width, f = config.feed_forward;
  const Layout by_rows = Layout().with(Axis::kTp, Placement::shard(0));
  const Layout by_columns = Layout().with(Axis::kTp, Placement::shard(1));
  const auto matrix = [](float inputs, Layout layout, float scale = 1) {
    return ParameterSpec{
        .standard_deviation = scale / std::sqrt(inputs), .layout = layout, .decay = true, .in_compute_dtype = true};
  };
  const auto vector = [](float mean, Layout layout, bool sees_shard) {
    return ParameterSpec{.mean = mean, .layout = layout, .sees_sequence_shard = sees_shard};
  };
  const auto norm = [&](const std::string& part) {
    return Norm{&store.create(name + part + ".weight", Shape{h}, vector(1, Layout(), sequence_parallel)),
                &store.create(name + part + ".bias", Shape{h}, vector(0, Layout(), sequence_parallel))};
  };
  const float to_residual = 1 / std::sqrt(2 * static_cast<float>(config.depth));
  const float width = static_cast<float>(h), inner = static_cast<float>(f);

  attention_norm_ = norm(".attention.norm");
  qkv_weight_ = &store.create(name + ".attention.qkv.weight", Shape{3, h, h}, matrix(width, by_columns));
  qkv_bias_ = &store.create(name + ".attention.qkv.bias", Shape{3, h}, vector(0, by_columns, false));
  out_weight_ = &store.create(name + ".attention.out.weight", Shape{h, h}, matrix(width, by_columns, to_residual));
  out_bias_ = &store.create(name + ".attention.out.bias", Shape{h}, vector(0, Layout(), sequence_parallel));
  feed_forward_norm_ = norm(".feed_forward.norm");
  in_weight_ = &store.create(name + ".feed_forward.in.weight", Shape{f, h}, matrix(width, by_rows));
  in_bias_ = &store.create(name + ".feed_forward.in.bias", Shape{f}, vector(0, by_rows, false));
  down_weight_ = &store.create(name + ".feed_forward.out.weight", Shape{h, f}, matrix(inner, by_columns, to_residual));
  down_bias_ = &store.create(name + ".feed_forward.out.bias", Shape{h}, vector(0, Layout(), sequence_parallel));
}

Variable TransformerBlock::forward(const Variable& x, const Tensor& lengths, const Pass& pass) const {
  const auto run = [this, lengths, outer = pass](const Variable& input, bool record) {
    Pass p = outer;
    p.record = record;
    const auto dropout = [&](std::string_view place) { return p.dropout(name_ + std::string(place), config_.dropout); };
    const Variable normalized = layer_norm(input, p.use(*attention_norm_.weight), p.use(*attention_norm_.bias));
    const Variable qkv =
        linear(redistribute(normalized, p.whole(), p.mesh), p.use(*qkv_weight_), p.use(*qkv_bias_), p.dtype);
    const Variable o = attention(qkv, config_.num_heads, {.causal = config_.causal, .lengths = lengths});
    const Variable branch = linear(o, p.use(*out_weight_), Variable(), p.dtype);
    const ResidualNorm middle = residual_norm(
        input, redistribute(branch, p.between_blocks(), p.mesh), p.use(*out_bias_), dropout(".attention.dropout"),
        p.use(*feed_forward_norm_.weight), p.use(*feed_forward_norm_.bias), p.mesh);
    const Variable h =
        linear(redistribute(middle.normalized, p.whole(), p.mesh), p.use(*in_weight_), p.use(*in_bias_), p.dtype);
    const Variable down = gelu_linear(h, p.use(*down_weight_), p.dtype);
    return residual(middle.sum, redistribute(down, p.between_blocks(), p.mesh), p.use(*down_bias_),
                    dropout(".feed_forward.dropout"), p.mesh);
  };
  if (pass.record && pass.recompute) return recompute(run, x, pass.poll);
  return run(x, pass.record);
}

double TransformerBlock::forward_flops(const TransformerBlockConfig& config, int64_t sequence) {
  const auto h = static_cast<double>(config.width), f = static_cast<double>(config.feed_forward);
  const auto s = static_cast<double>(sequence);
  return s * (2 * 4 * h * h + 2 * 2 * h * f) + 4 * s * s * h;
}

}  // namespace triptych
