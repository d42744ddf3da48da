#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "execution/placed_parameters.h"
#include "models/model.h"
#include "parallel/pipeline/partition.h"

namespace triptych::execution {

/// Slots by name.
using Values = std::map<std::string, Variable>;

/// Throws InternalError if `values` has no such slot.
const Variable& value_of(const Values& values, const std::string& name);

/// One stage of a model on a rank that owns it: its blocks with their parameters.
class Stage {
 public:
  /// Makes the stage's parameters in `store`. `model` outlives this.
  ///   full_blocks   names of those that selective recomputation recomputes in full
  Stage(const ModelSpec& model, const Partition& partition, int index, ParameterStore& store,
        std::span<const std::string> full_blocks = {});

  int index() const { return index_; }
  /// Of each block, in order.
  const std::vector<BlockParameters>& parameters() const { return parameters_; }
  /// Its boundaries with the stages before and behind it, as a route counts them.
  std::size_t begin() const { return begin_; }
  std::size_t end() const { return end_; }
  bool is_last() const { return end_ == model_->blocks.size(); }
  /// The slots that arrive and that leave on a route.
  const std::vector<Slot>& slots_in(const Route& route) const { return route.live[begin_]; }
  const std::vector<Slot>& slots_out(const Route& route) const { return route.live[end_]; }
  /// Of the batch, for the blocks that run on a route.
  std::vector<std::string> fields(const Route& route) const;

  /// Runs the route's blocks; returns `slots_out`.
  Values forward(const Route& route, const Values& inputs, const Fields& fields, const Pass& pass) const;

 private:
  const ModelSpec* model_;
  int index_;
  std::size_t begin_, end_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<bool> is_full_;  // [blocks]
  std::vector<BlockParameters> parameters_;
};

/// How a slot of `num_samples` samples a rank lies, and what it is of.
struct SlotShape {
  Shape global;
  Layout layout;
  DType dtype;
};
SlotShape slot_shape(const Slot& slot, int64_t num_samples, const Pass& pass);

}  // namespace triptych::execution
