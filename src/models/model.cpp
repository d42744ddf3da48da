#include "models/model.h"

#include <algorithm>

namespace triptych {

double ModelSpec::forward_flops() const {
  double sum = 0;
  for (const BlockSpec& block : blocks) sum += block.forward_flops;
  return sum;
}

double ModelSpec::backward_flops() const {
  double sum = 0;
  for (const BlockSpec& block : blocks) sum += block.backward_flops;
  return sum;
}

std::vector<Slot> live_slots(const ModelSpec& model, std::size_t boundary) {
  std::vector<Slot> written;
  for (std::size_t i = 0; i < boundary; ++i) {
    const Slot& slot = model.blocks[i].writes;
    std::erase_if(written, [&](const Slot& other) { return other.name == slot.name; });
    written.push_back(slot);
  }
  std::erase_if(written, [&](const Slot& slot) {
    for (std::size_t i = boundary; i < model.blocks.size(); ++i) {
      if (model.blocks[i].reads == slot.name) return false;
      if (model.blocks[i].writes.name == slot.name) return true;
    }
    return std::find(model.outputs.begin(), model.outputs.end(), slot.name) == model.outputs.end();
  });
  return written;
}

}  // namespace triptych
