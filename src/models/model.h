#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nn/parameter_store.h"
#include "nn/pass.h"
#include "tensor/field.h"

namespace triptych::models {

/// A named value that blocks pass on, possibly across stages: [B, dims...].
struct Slot {
  std::string name;
  std::vector<int64_t> dims;
  std::string place = "stream";  ///< its row of the parallel plan
  std::optional<DType> dtype;    ///< none: the pass's
  bool is_text = false;          ///< its first dim is the tokens that a decoder writes: one at a time then
  int64_t prefix = 0;            ///< of these, that stand in front of the text: they are read with the first token
};

/// A piece of a model with its parameters on this rank.
class Block {
 public:
  virtual ~Block() = default;
  /// `inputs` are the slots that the block reads, in the order of its spec; returns those that it writes, in theirs.
  virtual std::vector<Variable> forward(std::span<const Variable> inputs, const Fields& fields,
                                        const Pass& pass) const = 0;
};

/// What is known of a block without making it: enough to cut a model into stages and to say what they send.
struct BlockSpec {
  std::string name;
  std::vector<std::string> reads;   ///< slots
  std::vector<std::string> fields;  ///< of the batch
  std::vector<Slot> writes;
  double forward_flops = 0, backward_flops = 0;  ///< matrix products for one sample
  /// How many vectors of a sample are multiplied by a matrix of the block, by its name; not set: one for each token of
  /// the first slot that it writes.
  std::function<int64_t(const std::string& matrix)> num_inputs = {};
  std::function<std::unique_ptr<Block>(ParameterStore&)> make;
};

/// `num_inputs` of a block's matrix.
int64_t num_inputs_of(const BlockSpec& block, const std::string& matrix);

/// A model is the list of its blocks, in an order in which every slot is written before it is read. Slots written again
/// replace what was there.
struct ModelSpec {
  std::vector<BlockSpec> blocks;
  std::string fingerprint;  ///< of everything that shapes the parameters: equal if checkpoints fit
};

/// A block whose forward is a function: for pieces without a class of their own.
template <typename Parts, typename Forward>
std::unique_ptr<Block> make_block(Parts parts, Forward forward) {
  class Made : public Block {
   public:
    Made(Parts made, Forward run) : parts_(std::move(made)), run_(std::move(run)) {}
    std::vector<Variable> forward(std::span<const Variable> inputs, const Fields& fields,
                                  const Pass& pass) const override {
      return {run_(parts_, inputs, fields, pass)};
    }

   private:
    Parts parts_;
    Forward run_;
  };
  return std::make_unique<Made>(std::move(parts), std::move(forward));
}

/// The way through a model to some of its slots: only the blocks that these need run. What `live[i]` names must be
/// passed from the blocks before i to those from it on.
struct Route {
  std::vector<bool> runs;               ///< [blocks]
  std::vector<std::vector<Slot>> live;  ///< [blocks + 1]; the last are the outputs
  double forward_flops = 0, backward_flops = 0;
  std::vector<std::string> outputs;
};

/// Throws InternalError if no block writes one of `outputs`, or a block reads what was not written before it.
///   given   slots that are there already, and are not passed on: what they would need does not run
Route route_to(const ModelSpec& model, std::span<const std::string> outputs, std::span<const std::string> given = {});

/// For each block, how many blocks lie between it and the model's top: on the longest way that slots take from it to a
/// block whose slots no other reads. 0 for that one itself.
std::vector<int> depths_from_top(const ModelSpec& model);

}  // namespace triptych::models
