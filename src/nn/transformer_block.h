#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/activation.h"
#include "nn/parameter_store.h"
#include "nn/pass.h"
#include "ops/attention.h"

namespace triptych::nn {

struct TransformerBlockConfig {
  int64_t width = 0;
  int64_t num_heads = 0;
  int64_t feed_forward = 0;  ///< inner width
  bool causal = false;
  int64_t memory_width = 0;  ///< of what the block attends to across; 0: it has no cross-attention
  float dropout = 0;         ///< after each attention and after the feed-forward layer
  int64_t depth = 1;  ///< blocks of the tower: what writes to the residual stream starts smaller by sqrt(2 depth)
  Activation activation = Activation::kGelu;
};

/// The parallel plan of a Transformer block over `tp` (Shoeybi et al. 2019, Megatron-LM): attention by heads, the
/// feed-forward layer by its inner width. Activations enter each part whole, "batch", and leave it as the "stream".
inline constexpr PlanRow kTransformerBlockPlan[] = {
    {"attention.qkv.weight", on_tp(1)},          // [3, H, H] by heads
    {"attention.qkv.bias", on_tp(1)},            // [3, H]
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

/// Layer normalisation with learned weight and bias [H].
struct NormParameters {
  NormParameters(ParameterStore& store, const std::string& name, int64_t width);
  Variable forward(const Variable& x, const Pass& pass) const;

  Parameter *weight, *bias;
};

/// Queries from one sequence, keys and values from another: W_o attention(W_q x, W_kv memory). The output's bias is
/// apart, to be added after the reduction.
class CrossAttention {
 public:
  /// `scale` of the initial output weights.
  CrossAttention(ParameterStore& store, const std::string& name, int64_t width, int64_t memory_width, int64_t num_heads,
                 float scale);

  /// x [B, S, H] and memory [B, T, M], whole; returns [B, S, H], Partial on `tp`.
  ///   lengths   int32 [B]: memory at and beyond is masked; undefined if all counts
  Variable forward(const Variable& x, const Variable& memory, const Tensor& lengths, const Pass& pass) const;
  Parameter& out_bias() const { return *out_bias_; }

  /// Matrix-product FLOPs of one sample's forward pass.
  static double forward_flops(int64_t width, int64_t memory_width, int64_t sequence, int64_t memory);

 private:
  Variable keys_and_values(const Variable& memory, const Pass& pass) const;

  std::string name_;
  int64_t num_heads_;
  Parameter *q_weight_, *q_bias_, *kv_weight_, *kv_bias_, *out_weight_, *out_bias_;
};

/// A pre-norm Transformer block: x += W_o attention(W_qkv norm(x)); x += cross-attention(norm(x), memory) in a decoder
/// that has one; x += W_2 f(W_1 norm(x)), f the activation. Where f is gated, W_1 is [2, F, H], the gate's half first.
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
  struct Maker;
  TransformerBlock(const std::string& name, const TransformerBlockConfig& config, const Maker& make);
  Variable attend_to_cache(const Variable& qkv, const Pass& pass) const;
  Variable run(const Variable& x, const Variable& memory, const Lengths& lengths, const Pass& pass) const;

  struct Across {
    NormParameters norm;
    CrossAttention attention;
  };

  std::string name_;
  TransformerBlockConfig config_;
  NormParameters attention_norm_;
  Parameter *qkv_weight_, *qkv_bias_, *out_weight_, *out_bias_;
  std::optional<Across> across_;
  NormParameters feed_forward_norm_;
  Parameter *in_weight_, *in_bias_, *down_weight_, *down_bias_;
  std::vector<Parameter*> parameters_;  // all of these
};

}  // namespace triptych::nn
