#pragma once

#include <string>

#include "models/model.h"
#include "nn/transformer_block.h"

namespace triptych {

/// One Transformer block of a tower as a block of the model.
BlockSpec transformer_block_spec(const std::string& name, const Slot& slot, const TransformerBlockConfig& config,
                                 bool sequence_parallel, bool masks_padding);

/// What both towers end with: norm, projection to E without bias, unit length. x [B, H] in the pass's dtype, whole;
/// gives float32 [B, E]. All of it Replicate on `tp`: it sees one token a sample.
class ProjectionHead {
 public:
  ProjectionHead(ParameterStore& store, const std::string& name, int64_t width, int64_t embedding);
  Variable forward(const Variable& x, const Pass& pass) const;

 private:
  Parameter *norm_weight_, *norm_bias_, *weight_;
};

/// Learned positions [S, H], small random values at first.
ParameterSpec positions_spec(bool sequence_parallel);

}  // namespace triptych
