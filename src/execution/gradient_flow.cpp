#include "execution/gradient_flow.h"

#include <algorithm>
#include <set>

namespace triptych::execution {

bool GradientFlow::is_carried(std::size_t boundary, const std::string& slot) const {
  const std::vector<Slot>& slots = carried[boundary];
  return std::any_of(slots.begin(), slots.end(), [&](const Slot& one) { return one.name == slot; });
}

std::vector<BlockTraining> block_trainings(const ModelSpec& model, std::span<const PlacedParameter> parameters,
                                           const std::function<bool(const std::string&)>& is_trained) {
  std::vector<BlockTraining> trainings(model.blocks.size());
  for (const PlacedParameter& one : parameters) {
    if (one.block == model.blocks.size()) continue;
    BlockTraining& training = trainings[one.block];
    const bool trained = is_trained(one.name);
    training.is_trained = training.is_trained || trained;
    if (one.num_products == 0) continue;
    const std::string adapted = matrix_of_adapter(one.name);
    const int64_t num_inputs = num_inputs_of(model.blocks[one.block], adapted.empty() ? one.name : adapted);
    const double flops = 2.0 * static_cast<double>(num_inputs) * static_cast<double>(one.num_products);
    if (!adapted.empty()) {
      training.adapter_flops += flops;
      if (trained) training.weight_flops += flops;
    } else if (!trained) {
      training.weight_flops -= flops;
    }
  }
  return trainings;
}

GradientFlow gradient_flow(const ModelSpec& model, const Route& route, std::span<const BlockTraining> trainings) {
  GradientFlow flow;
  std::set<std::string> shaped;  // slots, as the blocks so far leave them
  const auto note = [&](std::size_t boundary) {
    std::vector<Slot>& carried = flow.carried.emplace_back();
    for (const Slot& slot : route.live[boundary]) {
      if (shaped.contains(slot.name)) carried.push_back(slot);
    }
  };
  note(0);
  for (std::size_t i = 0; i < model.blocks.size(); ++i) {
    if (route.runs[i]) {
      const BlockSpec& block = model.blocks[i];
      const BlockTraining& training = trainings[i];
      const bool reads_shaped = std::any_of(block.reads.begin(), block.reads.end(),
                                            [&](const std::string& name) { return shaped.contains(name); });
      for (const Slot& slot : block.writes) {
        if (training.is_trained || reads_shaped) {
          shaped.insert(slot.name);
        } else {
          shaped.erase(slot.name);
        }
      }
      flow.forward_flops += block.forward_flops + training.adapter_flops;
      if (training.is_trained) {
        flow.backward_flops += block.backward_flops + training.adapter_flops + training.weight_flops;
      } else if (reads_shaped) {
        flow.backward_flops += block.backward_flops / 2 + training.adapter_flops;
      }
    }
    note(i + 1);
  }
  return flow;
}

}  // namespace triptych::execution
