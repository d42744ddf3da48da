#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nn/parameter_store.h"
#include "nn/pass.h"
#include "tensor/field.h"

namespace triptych {

/// A piece of a model with its parameters on this rank.
class Block {
 public:
  virtual ~Block() = default;
  /// `x` is the slot that the block reads, undefined if it reads only data. `data` is the microbatch; it may have no
  /// fields but those that the stage's blocks name.
  virtual Variable forward(const Variable& x, const Fields& data, const Pass& pass) const = 0;
};

/// A named value that blocks pass on, possibly across stages.
struct Slot {
  std::string name;
  std::vector<int64_t> dims;    ///< after the batch
  bool between_blocks = false;  ///< laid out as Pass::between_blocks(), in the pass's dtype; else whole, in float32
};

/// What is known of a block without making it: enough to cut a model into stages and to say what they send.
struct BlockSpec {
  std::string name;
  std::string reads;  ///< a slot's name, or "" for data alone
  Slot writes;
  std::vector<std::string> fields;               ///< names of those that it reads
  double forward_flops = 0, backward_flops = 0;  ///< matrix products for one sample
  std::function<std::unique_ptr<Block>(ParameterStore&)> make;
};

/// A model is the list of its blocks, in an order in which every slot is written before it is read. Slots written again
/// replace what was there.
struct ModelSpec {
  std::vector<BlockSpec> blocks;
  std::vector<std::string> outputs;  ///< slots that the objective reads
  std::string fingerprint;           ///< of everything that shapes the parameters: equal if checkpoints fit

  double forward_flops() const;
  double backward_flops() const;
};

/// The slots that must be sent from the blocks before `boundary` to those from it on: written before, and read later
/// or by the objective.
std::vector<Slot> live_slots(const ModelSpec& model, std::size_t boundary);

}  // namespace triptych
