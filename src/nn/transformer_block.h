#pragma once

#include <optional>
#include <string>
#include <vector>

#include "nn/feed_forward.h"
#include "nn/norm.h"
#include "nn/parameter_store.h"
#include "nn/pass.h"
#include "nn/positions.h"
#include "ops/attention.h"

namespace triptych::nn {

/// Positions by turning queries and keys: see rotary_angles.
struct RotaryConfig {
  PositionGrid grid;  ///< of no tokens: the block has none
  double base = 10000;
};

struct TransformerBlockConfig {
  int64_t width = 0;
  int64_t num_heads = 0;
  int64_t feed_forward = 0;  ///< inner width
  bool causal = false;
  int64_t memory_width = 0;  ///< of what the block attends to across; 0: it has no cross-attention
  bool self_attention = true;
  std::optional<float> initial_gate;  ///< what each part adds is multiplied by tanh of its gate, which begins at this
  float dropout = 0;                  ///< after each attention and after the feed-forward layer
  int64_t depth = 1;  ///< blocks of the tower: what writes to the residual stream starts smaller by sqrt(2 depth)
  Activation activation = Activation::kGelu;
  NormConfig norm;
  bool post_norm = false;  ///< norms behind the residual sums (Vaswani et al. 2017), not before each part
  int64_t kv_heads = 0;    ///< of self-attention (Ainslie et al. 2023, GQA), a divisor of num_heads; 0: num_heads
  bool biases = true;      ///< of the products
  RotaryConfig rotary;
  float drop_path = 0;  ///< stochastic depth (Huang et al. 2016): so often a sample goes round a part of the block

  int64_t head_dim() const { return width / num_heads; }
  bool has_grouped_queries() const { return kv_heads > 0 && kv_heads != num_heads; }
  FeedForward::Config feed_forward_config() const {
    return {.width = width, .inner = feed_forward, .activation = activation, .biases = biases};
  }
};

/// The parallel plan of a Transformer block over `tp` (Shoeybi et al. 2019, Megatron-LM): attention by heads, the
/// feed-forward layer by its inner width. Activations enter each part as "tokens" and leave it as the "stream". Where
/// these share sequences out over `cp`, attention is the one operation that needs other ranks' tokens: ring_attention.
inline constexpr PlanRow kTransformerBlockPlan[] = {
    {"attention.qkv.weight", on_tp(1)},          // [3, H, H] by heads
    {"attention.qkv.bias", on_tp(1)},            // [3, H]
    {"attention.q.weight", on_tp(0)},            // [H, H] by heads, where queries share keys and values
    {"attention.q.bias", on_tp(0)},              // [H]
    {"attention.kv.weight", on_tp(1)},           // [2, K, H] by heads
    {"attention.kv.bias", on_tp(1)},             // [2, K]
    {"attention.out.weight", on_tp(1)},          // [H, H]
    {"attention.out.bias", kWhole},              // [H], added after the reduction
    {"cross_attention.q.weight", on_tp(0)},      // [H, H] by heads
    {"cross_attention.q.bias", on_tp(0)},        // [H]
    {"cross_attention.kv.weight", on_tp(1)},     // [2, H, M] by heads
    {"cross_attention.kv.bias", on_tp(1)},       // [2, H]
    {"cross_attention.q", on_tp(2, kBatch)},     // [B, S, H]
    {"cross_attention.kv", on_tp(3, kBatch)},    // [B, T, 2, H]
    {"feed_forward.in.weight", on_tp(0)},        // [F, H]
    {"feed_forward.in.bias", on_tp(0)},          // [F]
    {"feed_forward.gated_in.weight", on_tp(1)},  // [2, F, H]: a rank's halves belong together
    {"feed_forward.gated_in.bias", on_tp(1)},    // [2, F]
    {"feed_forward.out.weight", on_tp(1)},       // [H, F]
    {"feed_forward.out.bias", kWhole},           // [H]
};

/// Every token attends to its own sequence: W_o attention(W_qkv x). The output's bias is apart, to be added after the
/// reduction.
///
/// With grouped queries a projection of its own, W_kv [2, K, H], makes fewer heads of keys and values than there are of
/// queries, each shared by neighbours; a cache then keeps those alone.
class SelfAttention {
 public:
  /// `scale` of the initial output weights.
  SelfAttention(ParameterStore& store, const std::string& name, const TransformerBlockConfig& config, float scale);

  /// x [B, S, H]; returns [B, S, H], the stream.
  ///   lengths   int32 [B]: keys at and beyond are masked; undefined if all count
  Variable forward(const Variable& x, const Tensor& lengths, const Pass& pass) const;
  /// Null where the products have none.
  Parameter* out_bias() const { return out_bias_; }

  /// Matrix-product FLOPs of one sample's forward pass.
  static double forward_flops(const TransformerBlockConfig& config, int64_t sequence);

 private:
  // The angles of the positions of x [B, S, ...], of this rank's tokens.
  Tensor angles(const Variable& x, const Pass& pass) const;
  // Keys and values [B, T, 2, K] for the attention: those of all tokens so far where there is a cache.
  Variable keys_and_values(const Variable& kv, const Pass& pass) const;
  Variable attend(const Variable& q, const Variable& kv, const Tensor& lengths, const Pass& pass) const;

  std::string name_;
  TransformerBlockConfig config_;
  Parameter *qkv_weight_ = nullptr, *qkv_bias_ = nullptr;  // or, with grouped queries:
  Parameter *q_weight_ = nullptr, *q_bias_ = nullptr, *kv_weight_ = nullptr, *kv_bias_ = nullptr;
  Parameter *out_weight_, *out_bias_ = nullptr;
  Tensor angles_;  // float32 [S, D], or undefined
};

/// Queries from one sequence, keys and values from another: W_o attention(W_q x, W_kv memory). The output's bias is
/// apart, to be added after the reduction.
class CrossAttention {
 public:
  /// `scale` of the initial output weights.
  CrossAttention(ParameterStore& store, const std::string& name, int64_t width, int64_t memory_width, int64_t num_heads,
                 float scale, bool biases = true);

  /// x [B, S, H] and memory [B, T, M]; returns [B, S, H], the stream.
  ///   lengths   int32 [B]: memory at and beyond is masked; undefined if all counts
  Variable forward(const Variable& x, const Variable& memory, const Tensor& lengths, const Pass& pass) const;
  /// The same of queries [B, Q, H] that are made of a parameter, so that their gradient is summed over tp with that of
  /// the parameter alone; all that is read and given is the batch's.
  Variable pool(const Variable& queries, const Variable& memory, const Pass& pass) const;
  /// Null where the products have none.
  Parameter* out_bias() const { return out_bias_; }

  /// Matrix-product FLOPs of one sample's forward pass.
  static double forward_flops(int64_t width, int64_t memory_width, int64_t sequence, int64_t memory);

 private:
  Variable keys_and_values(const Variable& memory, const Pass& pass, const Places& places) const;
  Variable attend(const Variable& q, const Variable& memory, const Tensor& lengths, const Pass& pass,
                  const Places& places) const;

  std::string name_;
  int64_t num_heads_;
  Parameter *q_weight_, *kv_weight_, *out_weight_;
  Parameter *q_bias_ = nullptr, *kv_bias_ = nullptr, *out_bias_ = nullptr;
};

/// A Transformer block of up to three parts: self-attention, unless it has none; in a decoder that has one,
/// cross-attention; a feed-forward layer.
///
/// Pre-norm, each part is x += part(norm(x)), and who reads the last block's stream norms it; post-norm, it is
/// x = norm(x + part(x)). The parameters' names are the same.
///
/// A block with gates is pre-norm and has a scalar for each part, "<part>.gate": x += tanh(gate) part(norm(x)). With
/// all gates at 0 it passes x on bit by bit (Alayrac et al. 2022, Flamingo, section 2.2).
class TransformerBlock {
 public:
  TransformerBlock(ParameterStore& store, const std::string& name, const TransformerBlockConfig& config);

  /// What masks the sequences: int32 [B], keys at and beyond are masked; undefined if all count.
  struct Lengths {
    Tensor own, memory;
  };
  /// x [B, S, H], the stream; memory [B, T, M], a stream too, where the block has cross-attention, else undefined, as
  /// it may be where the pass's cache has its keys and values; returns the stream.
  Variable forward(const Variable& x, const Variable& memory, const Lengths& lengths, const Pass& pass) const;

  /// Matrix-product FLOPs of one sample's forward pass; `memory` is T.
  static double forward_flops(const TransformerBlockConfig& config, int64_t sequence, int64_t memory = 0);

 private:
  Variable run(const Variable& x, const Variable& memory, const Lengths& lengths, const Pass& pass) const;

  // Gates are null in a block that has none.
  struct Within {
    NormParameters norm;
    SelfAttention attention;
    Parameter* gate;
  };
  struct Across {
    NormParameters norm;
    CrossAttention attention;
    Parameter* gate;
  };

  std::string name_;
  TransformerBlockConfig config_;
  std::optional<Within> within_;
  std::optional<Across> across_;
  NormParameters feed_forward_norm_;
  FeedForward feed_forward_;
  Parameter* feed_forward_gate_;
  std::vector<Parameter*> parameters_;  // all of these
};

}  // namespace triptych::nn
