#pragma once

#include <optional>
#include <string>

#include "nn/feed_forward.h"
#include "nn/transformer_block.h"

namespace triptych::nn {

/// Attentional pooling (Lee et al. 2019, Set Transformer; as in Yu et al. 2022): learned queries, the same for every
/// sample, attend to a sequence.
class AttentionPool {
 public:
  AttentionPool(ParameterStore& store, const std::string& name, int64_t width, int64_t num_queries, int64_t num_heads,
                const std::optional<NormConfig>& norm, bool biases = true);

  /// x [B, S, H], whole, before the stack's last norm, which is the pool's; returns [B, Q, H], whole.
  Variable forward(const Variable& x, const Pass& pass) const;

  /// Matrix-product FLOPs of one sample's forward pass.
  static double forward_flops(int64_t width, int64_t num_queries, int64_t sequence) {
    return CrossAttention::forward_flops(width, width, num_queries, sequence);
  }

 private:
  Parameter* queries_;
  OptionalNorm norm_;
  CrossAttention attention_;
};

/// A sequence as one vector, by attention and a feed-forward layer: SigLIP's head (Zhai et al. 2023). One learned query
/// attends to the sequence, y = attention(query, x); then y += feed_forward(norm(y)). In the parts that
/// SiglipMultiheadAttentionPoolingHead of `transformers` has: "<name>.queries" [1, H] is its probe, the projections of
/// "<name>" its attention, "<name>.feed_forward.norm" its layernorm, "<name>.feed_forward" its MLP; "<name>.norm" is
/// the encoder's post_layernorm.
class AttentionPoolHead {
 public:
  struct Config {
    int64_t width = 0, num_heads = 0, feed_forward = 0;
    Activation activation = Activation::kGelu;
    std::optional<NormConfig> input_norm;  ///< the stack's last one
    NormConfig norm;                       ///< of the feed-forward layer's input
    bool biases = true;                    ///< of the products

    FeedForward::Config feed_forward_config() const {
      return {.width = width, .inner = feed_forward, .activation = activation, .biases = biases};
    }
  };
  AttentionPoolHead(ParameterStore& store, const std::string& name, const Config& config);

  /// x [B, S, H], whole, before the stack's last norm; returns [B, H], whole.
  Variable forward(const Variable& x, const Pass& pass) const;

  /// Matrix-product FLOPs of one sample's forward pass.
  static double forward_flops(const Config& config, int64_t sequence) {
    return AttentionPool::forward_flops(config.width, 1, sequence) +
           FeedForward::forward_flops(config.feed_forward_config(), 1);
  }

 private:
  AttentionPool pool_;
  NormParameters norm_;
  FeedForward feed_forward_;
};

}  // namespace triptych::nn
