#include "nn/transformer_block.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/recompute.h"
#include "nn/attention_sink.h"
#include "nn/decoding.h"
#include "ops/linear.h"
#include "ops/repeat_heads.h"
#include "ops/rotary.h"

namespace triptych::nn {
namespace {

// What an attention has made, shown to who wants to see it.
Variable seen(const std::string& name, int64_t num_heads, const AttentionMask& mask, const Tensor& q, const Tensor& kv,
              const Variable& o, const Pass& pass) {
  if (pass.attentions == nullptr) return o;
  return pass.attentions->see({.name = name,
                               .num_heads = num_heads,
                               .causal = mask.causal,
                               .q = q.contiguous(),
                               .kv = kv.contiguous(),
                               .lengths = mask.lengths,
                               .gradient = {}},
                              o, pass.record);
}

float to_residual(const TransformerBlockConfig& config) {
  return 1 / std::sqrt(2 * static_cast<float>(config.depth));
}

}  // namespace

SelfAttention::SelfAttention(ParameterStore& store, const std::string& name, const TransformerBlockConfig& config,
                             float scale)
    : name_(name), config_(config) {
  const int64_t h = config.width;
  const auto make = [&](std::string_view part, const Shape& shape, const ParameterSpec& spec) {
    return &store.create(fmt::format("{}.{}", name, part), shape, fmt::format("attention.{}", part), spec);
  };
  if (config.has_grouped_queries()) {
    TRIPTYCH_CHECK(config.num_heads % config.kv_heads == 0, "{}: {} heads share {} of keys and values", name,
                   config.num_heads, config.kv_heads);
    const int64_t k = config.kv_heads * config.head_dim();
    q_weight_ = make("q.weight", Shape{h, h}, linear_matrix(h));
    q_bias_ = make("q.bias", Shape{h}, {});
    kv_weight_ = make("kv.weight", Shape{2, k, h}, linear_matrix(h));
    kv_bias_ = make("kv.bias", Shape{2, k}, {});
  } else {
    qkv_weight_ = make("qkv.weight", Shape{3, h, h}, linear_matrix(h));
    qkv_bias_ = make("qkv.bias", Shape{3, h}, {});
  }
  out_weight_ = make("out.weight", Shape{h, h}, linear_matrix(h, scale));
  out_bias_ = make("out.bias", Shape{h}, {});
  const PositionGrid& grid = config.rotary.grid;
  if (grid.sequence == 0) return;
  const std::vector<float> table = rotary_angles(grid, config.head_dim(), config.rotary.base);
  angles_ = Tensor::from<float>(store.device(), Shape{grid.sequence, config.head_dim()}, table);
}

Variable SelfAttention::forward(const Variable& x, const Tensor& lengths, const Pass& pass) const {
  const auto turned = [&](const Variable& of, int64_t parts) {
    return angles_.defined() ? rotary(of, angles(pass), parts) : of;
  };
  const AttentionMask mask{.causal = config_.causal, .lengths = lengths};
  Variable o;
  if (config_.has_grouped_queries()) {
    const Variable q = turned(linear(x, pass.use(*q_weight_), pass.use(*q_bias_), pass.dtype), 1);
    const Variable kv = turned(linear(x, pass.use(*kv_weight_), pass.use(*kv_bias_), pass.dtype), 1);
    o = attend(q, kv, lengths, pass);
  } else {
    const Variable qkv = turned(linear(x, pass.use(*qkv_weight_), pass.use(*qkv_bias_), pass.dtype), 2);
    if (pass.cache == nullptr) {
      o = self_attention(qkv, config_.num_heads, mask);
      if (pass.attentions != nullptr) {
        const Tensor q = qkv.tensor().slice(2, 0, 1).contiguous().view(o.tensor().shape());
        o = seen(name_, config_.num_heads, mask, q, qkv.tensor().slice(2, 1, 2), o, pass);
      }
    } else {
      const Tensor& all = qkv.tensor();
      const Shape local{all.size(0), 1, all.size(3)}, global = qkv.global_shape();
      const Variable q = Variable::constant(all.slice(2, 0, 1).contiguous().view(local), Shape{global[0], 1, global[3]},
                                            pass.layout("cross_attention.q"));
      const Variable kv = Variable::constant(all.slice(2, 1, 2), global.with(2, 2), pass.layout("cross_attention.kv"));
      o = attend(q, kv, lengths, pass);
    }
  }
  return linear(o, pass.use(*out_weight_), Variable(), pass.dtype);
}

Tensor SelfAttention::angles(const Pass& pass) const {
  return pass.cache == nullptr ? angles_ : angles_.slice(0, pass.cache->position(), 1);
}

Variable SelfAttention::keys_and_values(const Variable& kv, const Pass& pass) const {
  if (pass.cache == nullptr) return kv;
  TRIPTYCH_CHECK(config_.causal, "{}: only a causal stack decodes token by token", name_);
  const Tensor all = pass.cache->append(name_, kv.tensor());
  return Variable::constant(all, kv.global_shape().with(1, all.size(1)), kv.layout());
}

Variable SelfAttention::attend(const Variable& q, const Variable& kv, const Tensor& lengths, const Pass& pass) const {
  Variable all = keys_and_values(kv, pass);
  if (config_.has_grouped_queries()) {
    all = repeat_heads(all, config_.num_heads / config_.kv_heads, config_.head_dim());
  }
  if (pass.cache == nullptr) {
    const AttentionMask mask{.causal = config_.causal, .lengths = lengths};
    const Variable o = cross_attention(q, all, config_.num_heads, mask);
    return seen(name_, config_.num_heads, mask, q.tensor(), all.tensor(), o, pass);
  }
  // The new token attends to itself and to all before.
  const Tensor& num_tokens = pass.cache->num_tokens(pass.device, kv.tensor().size(0));
  return cross_attention(q, all, config_.num_heads, {.lengths = num_tokens});
}

double SelfAttention::forward_flops(const TransformerBlockConfig& config, int64_t sequence) {
  const auto h = static_cast<double>(config.width), s = static_cast<double>(sequence);
  const double share = config.has_grouped_queries()
                           ? static_cast<double>(config.kv_heads) / static_cast<double>(config.num_heads)
                           : 1;  // of keys' and values' widths in h
  return s * 2 * (2 + 2 * share) * h * h + 4 * s * s * h;
}

CrossAttention::CrossAttention(ParameterStore& store, const std::string& name, int64_t width, int64_t memory_width,
                               int64_t num_heads, float scale)
    : name_(name),
      num_heads_(num_heads),
      q_weight_(
          &store.create(name + ".q.weight", Shape{width, width}, "cross_attention.q.weight", linear_matrix(width))),
      q_bias_(&store.create(name + ".q.bias", Shape{width}, "cross_attention.q.bias", {})),
      kv_weight_(&store.create(name + ".kv.weight", Shape{2, width, memory_width}, "cross_attention.kv.weight",
                               linear_matrix(memory_width))),
      kv_bias_(&store.create(name + ".kv.bias", Shape{2, width}, "cross_attention.kv.bias", {})),
      out_weight_(&store.create(name + ".out.weight", Shape{width, width}, "attention.out.weight",
                                linear_matrix(width, scale))),
      out_bias_(&store.create(name + ".out.bias", Shape{width}, "attention.out.bias", {})) {}

Variable CrossAttention::forward(const Variable& x, const Variable& memory, const Tensor& lengths,
                                 const Pass& pass) const {
  const Variable q = linear(x, pass.use(*q_weight_), pass.use(*q_bias_), pass.dtype);
  const Variable kv = keys_and_values(memory, pass);
  const AttentionMask mask{.causal = false, .lengths = lengths};
  const Variable o =
      seen(name_, num_heads_, mask, q.tensor(), kv.tensor(), cross_attention(q, kv, num_heads_, mask), pass);
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

// The members in the order in which the parameters are made.
TransformerBlock::TransformerBlock(ParameterStore& store, const std::string& name, const TransformerBlockConfig& config)
    : name_(name),
      config_(config),
      attention_norm_(store, name + ".attention.norm", config.width, config.norm),
      attention_(store, name + ".attention", config, to_residual(config)),
      across_(
          config.memory_width > 0
              ? std::optional<Across>({NormParameters(store, name + ".cross_attention.norm", config.width, config.norm),
                                       CrossAttention(store, name + ".cross_attention", config.width,
                                                      config.memory_width, config.num_heads, to_residual(config))})
              : std::nullopt),
      feed_forward_norm_(store, name + ".feed_forward.norm", config.width, config.norm),
      feed_forward_(store, name + ".feed_forward", config.feed_forward_config(), to_residual(config)),
      parameters_(store.named(name + ".")) {}

Variable TransformerBlock::run(const Variable& x, const Variable& memory, const Lengths& lengths,
                               const Pass& pass) const {
  const bool post = config_.post_norm;
  const auto dropout = [&](std::string_view part) {
    return pass.dropout(fmt::format("{}.{}", name_, part), config_.dropout, config_.drop_path);
  };
  // The stream after a branch has been added to it, and a norm of that.
  const auto add = [&](const Variable& stream, const Variable& branch, Parameter& bias, std::string_view part,
                       const NormParameters& norm) {
    return norm.after(stream, pass.laid_out(branch, "stream"), pass.use(bias), dropout(part), pass);
  };
  // `stream` is what the next branch is added to, `input` what the next part reads: the norm of the stream that the
  // part begins with, or, post-norm, the stream itself, which is the norm of the sum before it.
  Variable stream = x, input = post ? x : attention_norm_.forward(x, pass);
  const auto go_on = [&](const ResidualNorm& made) {
    stream = post ? made.normalized : made.sum;
    input = made.normalized;
  };
  const Variable branch = attention_.forward(pass.laid_out(input, "batch"), lengths.own, pass);
  const NormParameters& next = across_ ? across_->norm : feed_forward_norm_;
  go_on(add(stream, branch, attention_.out_bias(), "attention", post ? attention_norm_ : next));
  if (across_) {
    // Undefined where a decoder's cache has the keys and values of it.
    const Variable whole = memory.defined() ? pass.laid_out(memory, "batch") : memory;
    const Variable across = across_->attention.forward(pass.laid_out(input, "batch"), whole, lengths.memory, pass);
    go_on(add(stream, across, across_->attention.out_bias(), "cross_attention",
              post ? across_->norm : feed_forward_norm_));
  }
  const Variable fed = feed_forward_.forward(pass.laid_out(input, "batch"), pass);
  if (post) return add(stream, fed, feed_forward_.out_bias(), "feed_forward", feed_forward_norm_).normalized;
  return residual(stream, pass.laid_out(fed, "stream"), pass.use(feed_forward_.out_bias()), dropout("feed_forward"),
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
  double flops = SelfAttention::forward_flops(config, sequence) +
                 FeedForward::forward_flops(config.feed_forward_config(), sequence);
  if (config.memory_width > 0) {
    flops += CrossAttention::forward_flops(config.width, config.memory_width, sequence, memory);
  }
  return flops;
}

}  // namespace triptych::nn
