#pragma once

#include <string>
#include <vector>

#include "models/model.h"
#include "nn/transformer_block.h"

namespace triptych::models {

/// Sizes of a stack of Transformer blocks, and of what kind these are.
struct TransformerSizes {
  int64_t width = 256;
  int64_t layers = 6;
  int64_t heads = 4;
  int64_t feed_forward = 1024;
  Activation activation = Activation::kGelu;

  /// "width=256 layers=6 heads=4 feed_forward=1024", and what is not as by default, for fingerprints.
  std::string to_string() const;
};

/// What a stack of blocks does beside its sizes.
struct StackOptions {
  bool causal = false;
  float dropout = 0;
  std::string lengths;  ///< field that masks the padding of the stack's own sequence; "": all counts
  std::string memory;   ///< slot that the blocks attend to across; "": none
  int64_t memory_width = 0, memory_sequence = 0;
};

/// Blocks "<name>.blocks.i" over the slot `stream`, a sequence: each reads it and writes it again.
void append_stack(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& stream,
                  const TransformerSizes& sizes, const StackOptions& options);

/// A pre-norm stack's last norm, then a product without bias to `outputs`, float32: "<name>.norm", "<name>.projection".
/// All of it Replicate on `tp`: it sees one token a sample.
class ProjectionHead {
 public:
  ProjectionHead(ParameterStore& store, const std::string& name, int64_t width, int64_t outputs);
  /// x [B, H] whole, of the pass's dtype; returns float32 [B, outputs].
  Variable forward(const Variable& x, const Pass& pass) const;

  static double forward_flops(int64_t width, int64_t outputs) { return 2.0 * static_cast<double>(width * outputs); }

 private:
  NormParameters norm_;
  Parameter* weight_;
};

}  // namespace triptych::models
