#include "nn/transformer_block.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/recompute.h"
#include "nn/decoding.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"

namespace triptych::nn {
namespace {

// A matrix of `inputs` columns, scaled so that its products keep the variance of what they multiply.
ParameterSpec matrix(int64_t inputs, float scale = 1) {
  return {.standard_deviation = scale / std::sqrt(static_cast<float>(inputs)), .decay = true, .in_compute_dtype = true};
}

// The feed-forward layer's first product makes one array of inner width, or two side by side.
Shape gated(const TransformerBlockConfig& config, const Shape& shape) {
  if (!is_gated(config.activation)) return shape;
  std::vector<int64_t> dims = shape.to_vector();
  dims.insert(dims.begin(), 2);
  return Shape(dims);
}

std::string in_place(const TransformerBlockConfig& config, std::string_view part) {
  return fmt::format("feed_forward.{}.{}", is_gated(config.activation) ? "gated_in" : "in", part);
}

float to_residual(const TransformerBlockConfig& config) {
  return 1 / std::sqrt(2 * static_cast<float>(config.depth));
}

}  // namespace

struct TransformerBlock::Maker {
  ParameterStore& store;
  std::string name;
  int64_t h, f;
  float scale;  // of what writes to the residual stream

  Parameter* operator()(std::string_view part, const Shape& shape, const ParameterSpec& spec) const {
    return (*this)(part, shape, spec, part);
  }
  Parameter* operator()(std::string_view part, const Shape& shape, const ParameterSpec& spec,
                        std::string_view place) const {
    return &store.create(fmt::format("{}.{}", name, part), shape, place, spec);
  }
};

NormParameters::NormParameters(ParameterStore& store, const std::string& name, int64_t width)
    : weight(&store.create(name + ".weight", Shape{width}, "replicated", {.mean = 1})),
      bias(&store.create(name + ".bias", Shape{width}, "replicated", {})) {}

Variable NormParameters::forward(const Variable& x, const Pass& pass) const {
  return layer_norm(x, pass.use(*weight), pass.use(*bias));
}

CrossAttention::CrossAttention(ParameterStore& store, const std::string& name, int64_t width, int64_t memory_width,
                               int64_t num_heads, float scale)
    : name_(name),
      num_heads_(num_heads),
      q_weight_(&store.create(name + ".q.weight", Shape{width, width}, "cross_attention.q.weight", matrix(width))),
      q_bias_(&store.create(name + ".q.bias", Shape{width}, "cross_attention.q.bias", {})),
      kv_weight_(&store.create(name + ".kv.weight", Shape{2, width, memory_width}, "cross_attention.kv.weight",
                               matrix(memory_width))),
      kv_bias_(&store.create(name + ".kv.bias", Shape{2, width}, "cross_attention.kv.bias", {})),
      out_weight_(
          &store.create(name + ".out.weight", Shape{width, width}, "attention.out.weight", matrix(width, scale))),
      out_bias_(&store.create(name + ".out.bias", Shape{width}, "attention.out.bias", {})) {}

Variable CrossAttention::forward(const Variable& x, const Variable& memory, const Tensor& lengths,
                                 const Pass& pass) const {
  const Variable q = linear(x, pass.use(*q_weight_), pass.use(*q_bias_), pass.dtype);
  const Variable kv = keys_and_values(memory, pass);
  const Variable o = cross_attention(q, kv, num_heads_, {.lengths = lengths});
  return linear(o, pass.use(*out_weight_), Variable(), pass.dtype);
}

// What decoding attends to is the same for every token.
Variable CrossAttention::keys_and_values(const Variable& memory, const Pass& pass) const {
  if (pass.cache != nullptr && pass.cache->kept(name_).defined()) {
    const Tensor& kept = pass.cache->kept(name_);
    const Shape shape = kept.shape();
    const Shape global{shape[0] * pass.mesh.size(Axis::kDp), shape[1], 2, kv_weight_->global_shape[1]};
    return Variable::constant(kept, global, pass.layout("cross_attention.kv"));
  }
  const Variable kv = linear(memory, pass.use(*kv_weight_), pass.use(*kv_bias_), pass.dtype);
  if (pass.cache != nullptr) pass.cache->keep(name_, kv.tensor());
  return kv;
}

double CrossAttention::forward_flops(int64_t width, int64_t memory_width, int64_t sequence, int64_t memory) {
  const auto h = static_cast<double>(width), m = static_cast<double>(memory_width);
  const auto s = static_cast<double>(sequence), t = static_cast<double>(memory);
  return 2 * 2 * s * h * h + 2 * 2 * t * h * m + 4 * s * t * h;
}

TransformerBlock::TransformerBlock(ParameterStore& store, const std::string& name, const TransformerBlockConfig& config)
    : TransformerBlock(name, config, Maker{store, name, config.width, config.feed_forward, to_residual(config)}) {
  parameters_ = store.named(name + ".");
}

// The members in the order in which the parameters are made.
TransformerBlock::TransformerBlock(const std::string& name, const TransformerBlockConfig& config, const Maker& make)
    : name_(name),
      config_(config),
      attention_norm_(make.store, name + ".attention.norm", make.h),
      qkv_weight_(make("attention.qkv.weight", Shape{3, make.h, make.h}, matrix(make.h))),
      qkv_bias_(make("attention.qkv.bias", Shape{3, make.h}, {})),
      out_weight_(make("attention.out.weight", Shape{make.h, make.h}, matrix(make.h, make.scale))),
      out_bias_(make("attention.out.bias", Shape{make.h}, {})),
      across_(config.memory_width > 0
                  ? std::optional<Across>({NormParameters(make.store, name + ".cross_attention.norm", make.h),
                                           CrossAttention(make.store, name + ".cross_attention", make.h,
                                                          config.memory_width, config.num_heads, make.scale)})
                  : std::nullopt),
      feed_forward_norm_(make.store, name + ".feed_forward.norm", make.h),
      in_weight_(make("feed_forward.in.weight", gated(config, Shape{make.f, make.h}), matrix(make.h),
                      in_place(config, "weight"))),
      in_bias_(make("feed_forward.in.bias", gated(config, Shape{make.f}), {}, in_place(config, "bias"))),
      down_weight_(make("feed_forward.out.weight", Shape{make.h, make.f}, matrix(make.f, make.scale))),
      down_bias_(make("feed_forward.out.bias", Shape{make.h}, {})) {}

// The new token, qkv [R, 1, 3, H], attends to itself and to all before.
Variable TransformerBlock::attend_to_cache(const Variable& qkv, const Pass& pass) const {
  TRIPTYCH_CHECK(config_.causal, "{}: only a causal stack decodes token by token", name_);
  const Tensor& all = qkv.tensor();
  const int64_t rows = all.size(0), width = all.size(3);
  const Tensor kv = pass.cache->append(name_, all.slice(2, 1, 2));
  const Shape& global = qkv.global_shape();
  const Variable q = Variable::constant(all.slice(2, 0, 1).contiguous().view(Shape{rows, 1, width}),
                                        Shape{global[0], 1, global[3]}, pass.layout("cross_attention.q"));
  const Variable before =
      Variable::constant(kv, Shape{global[0], kv.size(1), 2, global[3]}, pass.layout("cross_attention.kv"));
  return cross_attention(q, before, config_.num_heads, {.lengths = pass.cache->num_tokens(pass.device, rows)});
}

Variable TransformerBlock::run(const Variable& x, const Variable& memory, const Lengths& lengths,
                               const Pass& pass) const {
  const auto dropout = [&](std::string_view place) {
    return pass.dropout(name_ + std::string(place), config_.dropout);
  };
  // The stream after a branch has been added to it, and the norm of that, which the next part begins with.
  const auto add = [&](const Variable& stream, const Variable& branch, Parameter& bias, std::string_view place,
                       const NormParameters& norm) {
    return residual_norm(stream, pass.laid_out(branch, "stream"), pass.use(bias), dropout(place),
                         pass.use(*norm.weight), pass.use(*norm.bias), pass.mesh);
  };
  const Variable qkv = linear(pass.laid_out(attention_norm_.forward(x, pass), "batch"), pass.use(*qkv_weight_),
                              pass.use(*qkv_bias_), pass.dtype);
  const Variable o = pass.cache != nullptr
                         ? attend_to_cache(qkv, pass)
                         : self_attention(qkv, config_.num_heads, {.causal = config_.causal, .lengths = lengths.own});
  const Variable branch = linear(o, pass.use(*out_weight_), Variable(), pass.dtype);
  ResidualNorm state = add(x, branch, *out_bias_, ".attention.dropout", across_ ? across_->norm : feed_forward_norm_);
  if (across_) {
    // Undefined where a decoder's cache has the keys and values of it.
    const Variable whole = memory.defined() ? pass.laid_out(memory, "batch") : memory;
    const Variable across =
        across_->attention.forward(pass.laid_out(state.normalized, "batch"), whole, lengths.memory, pass);
    state = add(state.sum, across, across_->attention.out_bias(), ".cross_attention.dropout", feed_forward_norm_);
  }
  const Variable h =
      linear(pass.laid_out(state.normalized, "batch"), pass.use(*in_weight_), pass.use(*in_bias_), pass.dtype);
  const Variable down = activated_linear(h, pass.use(*down_weight_), config_.activation, pass.dtype);
  return residual(state.sum, pass.laid_out(down, "stream"), pass.use(*down_bias_), dropout(".feed_forward.dropout"),
                  pass.mesh);
}

Variable TransformerBlock::forward(const Variable& x, const Variable& memory, const Lengths& lengths,
                                   const Pass& pass) const {
  if (!pass.record || !pass.recompute) return run(x, memory, lengths, pass);
  std::vector<Variable> inputs{x};
  if (memory.defined()) inputs.push_back(memory);
  const auto segment = [this, lengths, outer = pass](std::span<const Variable> given, bool record) {
    Pass inner = outer;
    inner.record = record;
    return std::vector{run(given[0], given.size() > 1 ? given[1] : Variable(), lengths, inner)};
  };
  const bool trains =
      std::any_of(parameters_.begin(), parameters_.end(), [](const Parameter* one) { return one->is_trained; });
  return recompute(segment, inputs, trains)[0];
}

double TransformerBlock::forward_flops(const TransformerBlockConfig& config, int64_t sequence, int64_t memory) {
  const auto h = static_cast<double>(config.width), f = static_cast<double>(config.feed_forward);
  const auto s = static_cast<double>(sequence);
  const double products = is_gated(config.activation) ? 3 : 2;  // of the feed-forward layer
  double flops = s * (2 * 4 * h * h + 2 * products * h * f) + 4 * s * s * h;
  if (config.memory_width > 0) {
    flops += CrossAttention::forward_flops(config.width, config.memory_width, sequence, memory);
  }
  return flops;
}

}  // namespace triptych::nn
