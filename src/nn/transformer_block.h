#pragma once

#include <string>

#include "nn/parameter_store.h"
#include "nn/pass.h"
#include "ops/attention.h"

namespace triptych {

struct TransformerBlockConfig {
  int64_t width = 0;
  int64_t num_heads = 0;
  int64_t feed_forward = 0;  ///< inner width
  bool causal = false;
  float dropout = 0;  ///< after attention and after the feed-forward layer
  int64_t depth =
      1;  ///< blocks of the tower: the products that write to the residual stream start smaller by sqrt(2 depth)
};

/// A pre-norm Transformer block: x += W_o attention(W_qkv norm(x)); x += W_2 gelu(W_1 norm(x)).
///
/// Its parallel plan over `tp` (Shoeybi et al. 2019, Megatron-LM; Korthikanti et al. 2022 for sequence parallelism):
///
///   attention.qkv.weight [3, H, H]   Shard(1): by heads     feed_forward.in.weight [F, H]    Shard(0)
///   attention.qkv.bias   [3, H]      Shard(1)               feed_forward.in.bias   [F]       Shard(0)
///   attention.out.weight [H, H]      Shard(1)               feed_forward.out.weight [H, F]   Shard(1)
///   biases of out, norms [H]         Replicate
///
/// Activations enter each half Replicate and leave it as Pass::between_blocks() says.
class TransformerBlock {
 public:
  TransformerBlock(ParameterStore& store, const std::string& name, const TransformerBlockConfig& config,
                   bool sequence_parallel);

  /// x [B, S, H] laid out as pass.between_blocks(); returns the same.
  ///   lengths   int32 [B]: keys beyond are masked; undefined if all count
  Variable forward(const Variable& x, const Tensor& lengths, const Pass& pass) const;

  /// Matrix-product FLOPs of one sample's forward pass.
  static double forward_flops(const TransformerBlockConfig& config, int64_t sequence);

 private:
  std::string name_;
  TransformerBlockConfig config_;
  struct Norm {
    Parameter* weight;
    Parameter* bias;
  };
  Norm attention_norm_, feed_forward_norm_;
  Parameter *qkv_weight_, *qkv_bias_, *out_weight_, *out_bias_;
  Parameter *in_weight_, *in_bias_, *down_weight_, *down_bias_;
};

}  // namespace triptych
