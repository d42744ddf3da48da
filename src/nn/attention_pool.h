#pragma once

#include <optional>
#include <string>

#include "nn/transformer_block.h"

namespace triptych::nn {

/// Attentional pooling (Lee et al. 2019, Set Transformer; as in Yu et al. 2022): learned queries, the same for every
/// sample, attend to a sequence.
class AttentionPool {
 public:
  AttentionPool(ParameterStore& store, const std::string& name, int64_t width, int64_t num_queries, int64_t num_heads,
                const std::optional<NormConfig>& norm);

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

}  // namespace triptych::nn
