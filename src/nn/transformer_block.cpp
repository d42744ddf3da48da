#include "nn/transformer_block.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/recompute.h"
#include "nn/attention_sink.h"
#include "nn/decoding.h"
#include "ops/linear.h"
#include "ops/multiply.h"
#include "ops/repeat_heads.h"
#include "ops/reshape.h"
#include "ops/ring_attention.h"
#include "ops/rotary.h"
#include "ops/tanh.h"

namespace triptych::nn {
namespace {

// Whether `cp` has pieces of the sequences.
bool is_shared_out(const Variable& x) {
  return x.layout()[Axis::kCp].is_shard(1);
}

Variable attend_within(const Variable& qkv, int64_t num_heads, const AttentionMask& mask, const Pass& pass) {
  return is_shared_out(qkv) ? ring_self_attention(qkv, num_heads, mask, pass.mesh)
                            : self_attention(qkv, num_heads, mask, pass.selects());
}

Variable attend_across(const Variable& q, const Variable& kv, int64_t num_heads, const AttentionMask& mask,
                       const Pass& pass) {
  return is_shared_out(q) ? ring_cross_attention(q, kv, num_heads, mask, pass.mesh)
                          : cross_attention(q, kv, num_heads, mask, pass.selects());
}

// What an attention of `num_heads` over all ranks has made, shown to who wants to see it.
Variable seen(const std::string& name, int64_t num_heads, const AttentionMask& mask, const Tensor& q, const Tensor& kv,
              const Variable& o, const Pass& pass) {
  if (pass.attentions == nullptr) return o;
  TRIPTYCH_CHECK(!is_shared_out(o), "{}: who sees attentions needs whole sequences, found {}", name,
                 o.layout().to_string());
  return pass.attentions->see({.name = name,
                               .num_heads = num_heads * q.size(2) / o.global_shape()[2],
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

// Of a part; null in a block that has none.
Parameter* make_gate(ParameterStore& store, const std::string& part, const TransformerBlockConfig& config) {
  if (!config.initial_gate) return nullptr;
  return &store.create(part + ".gate", Shape{1}, "replicated", {.mean = *config.initial_gate});
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
    if (config.biases) q_bias_ = make("q.bias", Shape{h}, {});
    kv_weight_ = make("kv.weight", Shape{2, k, h}, linear_matrix(h));
    if (config.biases) kv_bias_ = make("kv.bias", Shape{2, k}, {});
  } else {
    qkv_weight_ = make("qkv.weight", Shape{3, h, h}, linear_matrix(h));
    if (config.biases) qkv_bias_ = make("qkv.bias", Shape{3, h}, {});
  }
  out_weight_ = make("out.weight", Shape{h, h}, linear_matrix(h, scale));
  if (config.biases) out_bias_ = make("out.bias", Shape{h}, {});
  const PositionGrid& grid = config.rotary.grid;
  if (grid.sequence == 0) return;
  const std::vector<float> table = rotary_angles(grid, config.head_dim(), config.rotary.base);
  angles_ = Tensor::from<float>(store.device(), Shape{grid.sequence, config.head_dim()}, table);
}

Variable SelfAttention::forward(const Variable& x, const Tensor& lengths, const Pass& pass) const {
  const auto turned = [&](const Variable& of, int64_t parts) {
    return angles_.defined() ? rotary(of, angles(of, pass), parts) : of;
  };
  const AttentionMask mask{.causal = config_.causal, .lengths = lengths};
  Variable o;
  if (config_.has_grouped_queries()) {
    const Entered entered = pass.enter(x, *q_weight_, q_bias_, Places().inside);
    const Variable q = turned(entered.y, 1);
    const Variable kv = turned(linear(entered.x, pass.use(*kv_weight_), pass.use(kv_bias_), pass.dtype), 1);
    o = attend(q, kv, lengths, pass);
  } else {
    const Variable qkv = turned(pass.enter(x, *qkv_weight_, qkv_bias_, Places().inside).y, 2);
    if (pass.cache == nullptr) {
      o = attend_within(qkv, config_.num_heads, mask, pass);
      if (pass.attentions != nullptr) {
        const Tensor q = qkv.tensor().slice(2, 0, 1).contiguous().view(o.tensor().shape());
        o = seen(name_, config_.num_heads, mask, q, qkv.tensor().slice(2, 1, 2), o, pass);
      }
    } else {
      const Tensor& all = qkv.tensor();
      const Shape local{all.size(0), all.size(1), all.size(3)}, global = qkv.global_shape();
      const Variable q = Variable::constant(all.slice(2, 0, 1).contiguous().view(local),
                                            Shape{global[0], global[1], global[3]}, pass.layout("cross_attention.q"));
      const Variable kv = Variable::constant(all.slice(2, 1, 2), global.with(2, 2), pass.layout("cross_attention.kv"));
      o = attend(q, kv, lengths, pass);
    }
  }
  return leaving_linear(o, pass.use(*out_weight_), pass.dtype, pass.border(Places().outside));
}

Tensor SelfAttention::angles(const Variable& x, const Pass& pass) const {
  Shape begin;
  const Shape local = local_shape(x.global_shape(), x.layout(), pass.mesh, &begin);
  return angles_.slice(0, pass.cache == nullptr ? begin[1] : pass.cache->first(name_), local[1]);
}

Variable SelfAttention::keys_and_values(const Variable& kv, const Pass& pass) const {
  if (pass.cache == nullptr) return kv;
  TRIPTYCH_CHECK(config_.causal, "{}: only a causal stack decodes token by token", name_);
  Tensor all = pass.cache->append(name_, kv.tensor());
  if (pass.cache->position() == 0) all = all.slice(1, 0, kv.tensor().size(1)).contiguous();
  return Variable::constant(all, kv.global_shape().with(1, all.size(1)), kv.layout());
}

Variable SelfAttention::attend(const Variable& q, const Variable& kv, const Tensor& lengths, const Pass& pass) const {
  Variable all = keys_and_values(kv, pass);
  if (config_.has_grouped_queries() && !is_shared_out(q)) {  // round a ring the few go
    all = repeat_heads(all, config_.num_heads / config_.kv_heads, config_.head_dim());
  }
  // What comes with the first token attends to what is before it in the same pass; a later token to itself and to all
  // before.
  if (pass.cache == nullptr || pass.cache->position() == 0) {
    const AttentionMask mask{.causal = config_.causal, .lengths = lengths};
    const Variable o = attend_across(q, all, config_.num_heads, mask, pass);
    return seen(name_, config_.num_heads, mask, q.tensor(), all.tensor(), o, pass);
  }
  const Tensor& num_tokens = pass.cache->num_tokens(name_, pass.device, kv.tensor().size(0));
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
                               int64_t num_heads, float scale, bool biases)
    : name_(name), num_heads_(num_heads) {
  const auto make_bias = [&](std::string_view part, const Shape& shape, std::string_view place) {
    return biases ? &store.create(fmt::format("{}.{}", name, part), shape, place, {}) : nullptr;
  };
  q_weight_ = &store.create(name + ".q.weight", Shape{width, width}, "cross_attention.q.weight", linear_matrix(width));
  q_bias_ = make_bias("q.bias", Shape{width}, "cross_attention.q.bias");
  kv_weight_ = &store.create(name + ".kv.weight", Shape{2, width, memory_width}, "cross_attention.kv.weight",
                             linear_matrix(memory_width));
  kv_bias_ = make_bias("kv.bias", Shape{2, width}, "cross_attention.kv.bias");
  out_weight_ =
      &store.create(name + ".out.weight", Shape{width, width}, "attention.out.weight", linear_matrix(width, scale));
  out_bias_ = make_bias("out.bias", Shape{width}, "attention.out.bias");
}

Variable CrossAttention::forward(const Variable& x, const Variable& memory, const Tensor& lengths,
                                 const Pass& pass) const {
  const Places places;
  return attend(pass.enter(x, *q_weight_, q_bias_, places.inside).y, memory, lengths, pass, places);
}

Variable CrossAttention::pool(const Variable& queries, const Variable& memory, const Pass& pass) const {
  const Variable q = linear(queries, pass.use(*q_weight_), pass.use(q_bias_), pass.dtype);
  return attend(q, memory, Tensor(), pass, {.inside = "batch", .outside = "batch"});
}

Variable CrossAttention::attend(const Variable& q, const Variable& memory, const Tensor& lengths, const Pass& pass,
                                const Places& places) const {
  const Variable kv = keys_and_values(memory, pass, places);
  const AttentionMask mask{.causal = false, .lengths = lengths};
  const Variable o =
      seen(name_, num_heads_, mask, q.tensor(), kv.tensor(), attend_across(q, kv, num_heads_, mask, pass), pass);
  return leaving_linear(o, pass.use(*out_weight_), pass.dtype, pass.border(places.outside));
}

// What decoding attends to is the same for every token.
Variable CrossAttention::keys_and_values(const Variable& memory, const Pass& pass, const Places& places) const {
  if (pass.cache != nullptr && pass.cache->kept(name_).defined()) {
    const Tensor& kept = pass.cache->kept(name_);
    const Shape shape = kept.shape();
    const Shape global{shape[0] * pass.mesh.size(Axis::kDp), shape[1], 2, kv_weight_->global_shape[1]};
    return Variable::constant(kept, global, pass.layout("cross_attention.kv"));
  }
  const Variable kv = pass.enter(memory, *kv_weight_, kv_bias_, places.inside).y;
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
      within_(config.self_attention
                  ? std::optional<Within>({NormParameters(store, name + ".attention.norm", config.width, config.norm),
                                           SelfAttention(store, name + ".attention", config, to_residual(config)),
                                           make_gate(store, name + ".attention", config)})
                  : std::nullopt),
      across_(config.memory_width > 0
                  ? std::optional<Across>(
                        {NormParameters(store, name + ".cross_attention.norm", config.width, config.norm),
                         CrossAttention(store, name + ".cross_attention", config.width, config.memory_width,
                                        config.num_heads, to_residual(config), config.biases),
                         make_gate(store, name + ".cross_attention", config)})
                  : std::nullopt),
      feed_forward_norm_(store, name + ".feed_forward.norm", config.width, config.norm),
      feed_forward_(store, name + ".feed_forward", config.feed_forward_config(), to_residual(config)),
      feed_forward_gate_(make_gate(store, name + ".feed_forward", config)),
      parameters_(store.named(name + ".")) {
  TRIPTYCH_CHECK(within_ || across_, "{}: a block attends to something", name);
  TRIPTYCH_CHECK(!config.initial_gate || !config.post_norm, "{}: a block with gates is pre-norm", name);
}

Variable TransformerBlock::run(const Variable& x, const Variable& memory, const Lengths& lengths,
                               const Pass& pass) const {
  const bool post = config_.post_norm;
  const auto dropout = [&](std::string_view part) {
    return pass.dropout(fmt::format("{}.{}", name_, part), config_.dropout, config_.drop_path);
  };
  // What a part adds to the stream, and its bias, which is added with it; undefined where there is none.
  struct Branch {
    Variable z, bias;
  };
  const auto branch_of = [&](const Variable& z, Parameter* bias, Parameter* gate) -> Branch {
    const Branch whole{z, pass.use(bias)};
    if (gate == nullptr) return whole;
    const Variable factor = reshape(tanh(pass.use(*gate)), Shape{});
    return {multiply(whole.z, factor), whole.bias.defined() ? multiply(whole.bias, factor) : Variable()};
  };
  // The stream after a branch has been added to it, and a norm of that.
  const auto add = [&](const Variable& stream, const Branch& branch, std::string_view part,
                       const NormParameters& norm) {
    return norm.after(stream, branch.z, branch.bias, dropout(part), pass);
  };
  // `stream` is what the next branch is added to, `input` what the next part reads: the norm of the stream that the
  // part begins with, or, post-norm, the stream itself, which is the norm of the sum before it.
  Variable stream = x, input = post ? x : (within_ ? within_->norm : across_->norm).forward(x, pass);
  const auto go_on = [&](const ResidualNorm& made) {
    stream = post ? made.normalized : made.sum;
    input = made.normalized;
  };
  if (within_) {
    const Variable z = within_->attention.forward(input, lengths.own, pass);
    const NormParameters& next = across_ ? across_->norm : feed_forward_norm_;
    go_on(add(stream, branch_of(z, within_->attention.out_bias(), within_->gate), "attention",
              post ? within_->norm : next));
  }
  if (across_) {
    const Variable z = across_->attention.forward(input, memory, lengths.memory, pass);
    go_on(add(stream, branch_of(z, across_->attention.out_bias(), across_->gate), "cross_attention",
              post ? across_->norm : feed_forward_norm_));
  }
  const Variable z = feed_forward_.forward(input, pass);
  const Branch fed = branch_of(z, feed_forward_.out_bias(), feed_forward_gate_);
  if (post) return add(stream, fed, "feed_forward", feed_forward_norm_).normalized;
  return residual(stream, fed.z, fed.bias, dropout("feed_forward"), pass.mesh);
}

Variable TransformerBlock::forward(const Variable& x, const Variable& memory, const Lengths& lengths,
                                   const Pass& pass) const {
  if (!pass.record || pass.recompute != Recompute::kFull) return run(x, memory, lengths, pass);
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
  double flops = FeedForward::forward_flops(config.feed_forward_config(), sequence);
  if (config.self_attention) flops += SelfAttention::forward_flops(config, sequence);
  if (config.memory_width > 0) {
    flops += CrossAttention::forward_flops(config.width, config.memory_width, sequence, memory);
  }
  return flops;
}

}  // namespace triptych::nn
