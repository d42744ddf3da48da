#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autograd/variable.h"

namespace triptych::nn {

/// What one attention of a forward pass worked on: enough to say what it attended to, which it does not keep itself.
/// Of the heads that this rank holds, H being their width together.
struct SeenAttention {
  std::string name;       ///< "image.blocks.0.attention"
  int64_t num_heads = 0;  ///< this rank's
  bool causal = false;    ///< query i sees keys j <= i + T - S
  Tensor q;               ///< [B, S, H]
  Tensor kv;              ///< [B, T, 2, H]: keys and values
  Tensor lengths;         ///< int32 [B]: keys at or beyond are masked; undefined if all count
  Variable gradient;      ///< a leaf [B, S, H] that gets the gradient of the output; undefined unless recorded
  int stage = 0;          ///< of the pipeline, that it is in
};

/// Collects the attentions of a forward pass, in the order in which they run. A pass without one (Pass::attentions)
/// does nothing for it; one that has it keeps queries, keys and values until this ends. Not thread-safe.
class AttentionSink {
 public:
  /// `seen` has made `o`, [B, S, H]. Returns it: with `record` as a sum with zeros whose gradient is that of o, so that
  /// there is one even where no parameter is trained.
  Variable see(SeenAttention seen, const Variable& o, bool record);
  /// What is seen from here on is of this stage.
  void begin_stage(int stage) { stage_ = stage; }

  const std::vector<SeenAttention>& all() const { return all_; }

 private:
  std::vector<SeenAttention> all_;
  int stage_ = 0;
};

}  // namespace triptych::nn
