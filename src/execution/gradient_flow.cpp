#include "execution/gradient_flow.h"

#include <algorithm>
#include <set>

namespace triptych::execution {

bool GradientFlow::is_carried(std::size_t boundary, const std::string& slot) const {
  const std::vector<Slot>& slots = carried[boundary];
  return std::any_of(slots.begin(), slots.end(), [&](const Slot& one) { return one.name == slot; });
}

GradientFlow gradient_flow(const ModelSpec& model, const Route& route,
                           const std::function<bool(std::size_t)>& is_trained) {
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
      const bool trains = is_trained(i);
      const bool reads_shaped = std::any_of(block.reads.begin(), block.reads.end(),
                                            [&](const std::string& name) { return shaped.contains(name); });
      for (const Slot& slot : block.writes) {
        if (trains || reads_shaped) {
          shaped.insert(slot.name);
        } else {
          shaped.erase(slot.name);
        }
      }
      flow.forward_flops += block.forward_flops;
      flow.backward_flops += trains ? block.backward_flops : reads_shaped ? block.backward_flops / 2 : 0;
    }
    note(i + 1);
  }
  return flow;
}

}  // namespace triptych::execution
