#pragma once

#include <optional>
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
  NormConfig norm;
  bool post_norm = false;   ///< the blocks norm each sum, not what goes into each part
  bool input_norm = false;  ///< a norm before the first block
  int64_t kv_heads = 0;     ///< of self-attention's keys and values; 0: as many as heads
  PositionKind positions = PositionKind::kLearned;
  double rotary_base = 10000;
  float drop_path = 0;  ///< of the last block; those before have less, the first none
  bool biases = true;   ///< of the blocks' products; Llama's have none

  /// Of the stream before the first block.
  std::optional<NormConfig> first_norm() const { return input_norm ? std::optional(norm) : std::nullopt; }
  /// Of the stream behind the last block: post-norm blocks leave none to do.
  std::optional<NormConfig> last_norm() const { return post_norm ? std::nullopt : std::optional(norm); }
  /// "width=256 layers=6 heads=4 feed_forward=1024", and what is not as by default, for fingerprints.
  std::string to_string() const;
};

/// What a stack of blocks does beside its sizes.
struct StackOptions {
  bool causal = false;
  float dropout = 0;
  std::string lengths;        ///< field that masks the padding of the stack's own sequence; "": all counts
  int64_t tokens_before = 0;  ///< of the sequence, in front of those that `lengths` counts
  std::string memory;         ///< slot that the blocks attend to across; "": none
  int64_t memory_width = 0, memory_sequence = 0;
  bool self_attention = true;         ///< see TransformerBlockConfig
  std::optional<float> initial_gate;  ///< the same
  std::string memory_lengths;         ///< field that masks the memory's padding; "": all counts
  int64_t grid_side = 0;              ///< of the patches that end the sequence; 0: it is a line
};

/// `BlockSpec::num_inputs` where `own` tokens attend to `memory` others: keys and values are made of those.
std::function<int64_t(const std::string&)> inputs_of_attention(int64_t own, int64_t memory);

/// Blocks "<name>.blocks.i" over the slot `stream`, a sequence: each reads it and writes it again.
void append_stack(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& stream,
                  const TransformerSizes& sizes, const StackOptions& options);

/// Block "<name>.blocks.<i>" of such a stack alone, for stacks that take turns.
void append_block(std::vector<BlockSpec>& blocks, const std::string& name, int64_t i, const Slot& stream,
                  const TransformerSizes& sizes, const StackOptions& options);

/// "<name>": a stack's last norm, if there is one, from the slot `stream` to the slot `memory` of its dims, whole: what
/// others read of the stack.
void append_memory(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& stream,
                   const std::string& memory, const TransformerSizes& sizes);

/// "<name>": a learned vector, "<name>.segments" [1, H], added to every token of the slot `stream`, so that it can be
/// told from what else stands in one sequence with it: a modality embedding.
void append_modality(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& stream);

/// A float32 vector of equal elements, which nothing trains.
Variable constant_vector(int64_t size, float value, const Pass& pass);

/// "<name>": a product with a bias, "<name>.weight" and "<name>.bias", of every token of the slot `from`, whole, to the
/// slot `to`. All of it Replicate on `tp`.
void append_product(std::vector<BlockSpec>& blocks, const std::string& name, const Slot& from, const Slot& to);

/// What makes a state an embedding, behind the stack's last norm.
enum class Projection {
  kProduct,        ///< a matrix
  kBiasedProduct,  ///< a matrix and a bias
  kNone,           ///< nothing: the state is the embedding
};

/// A stack's last norm, if there is one, then a projection to `outputs`: "<name>.norm", "<name>.projection". All of it
/// Replicate on `tp`: it sees one token a sample.
class ProjectionHead {
 public:
  ProjectionHead(ParameterStore& store, const std::string& name, int64_t width, int64_t outputs,
                 const std::optional<NormConfig>& norm, Projection projection = Projection::kProduct);
  /// x [B, H] whole, of the pass's dtype; returns [B, outputs], float32 but where there is no projection: then as x.
  Variable forward(const Variable& x, const Pass& pass) const;

  static double forward_flops(int64_t width, int64_t outputs) { return 2.0 * static_cast<double>(width * outputs); }

 private:
  OptionalNorm norm_;
  Parameter *weight_ = nullptr, *bias_ = nullptr;
};

}  // namespace triptych::models
