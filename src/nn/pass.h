#pragma once

#include <functional>
#include <string_view>

#include "autograd/variable.h"
#include "base/philox.h"
#include "ops/residual.h"

namespace triptych {

/// What one forward pass over one microbatch needs beside its data. Passed down; nothing of it is global.
struct Pass {
  Device& device;
  Mesh& mesh;
  DType dtype = DType::kFloat32;  ///< of activations
  bool record = true;             ///< build a graph
  bool training = true;           ///< drop out
  bool sequence_parallel = false;
  bool recompute = false;  ///< keep only the inputs of Transformer blocks
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t first_sample = 0;    ///< of the microbatch, in the global batch
  std::function<void()> poll;  ///< lets communication progress; called between operations of backward

  Variable use(Parameter& parameter) const { return Variable::of(parameter, record); }

  /// The batch over `dp`, everything else whole.
  Layout whole() const { return on_mesh(Layout().with(Axis::kDp, Placement::shard(0)), mesh); }
  /// What lies between the blocks, [B, S, H]: whole, or by sequence over `tp`.
  Layout between_blocks() const {
    return sequence_parallel ? on_mesh(whole().with(Axis::kTp, Placement::shard(1)), mesh) : whole();
  }
  /// The dropout of one place in the model.
  Dropout dropout(std::string_view place, float probability) const {
    return {training ? probability : 0.0f, random_key(seed, place, static_cast<uint64_t>(step)), first_sample};
  }
};

}  // namespace triptych
