#include "models/model.h"

#include <algorithm>

namespace triptych::models {
namespace {

// The slot as the blocks before `boundary` leave it.
const Slot& slot_before(const ModelSpec& model, std::size_t boundary, const std::string& name) {
  for (std::size_t i = boundary; i-- > 0;) {
    for (const Slot& slot : model.blocks[i].writes) {
      if (slot.name == name) return slot;
    }
  }
  throw InternalError("model", fmt::format("no block before number {} writes slot {}", boundary, name));
}

}  // namespace

int64_t num_inputs_of(const BlockSpec& block, const std::string& matrix) {
  if (block.num_inputs) return block.num_inputs(matrix);
  int64_t tokens = 1;
  const std::vector<int64_t>& dims = block.writes.at(0).dims;
  for (std::size_t i = 0; i + 1 < dims.size(); ++i) tokens *= dims[i];
  return tokens;
}

Route route_to(const ModelSpec& model, std::span<const std::string> outputs, std::span<const std::string> given) {
  const std::size_t count = model.blocks.size();
  Route route{.runs = std::vector<bool>(count),
              .live = std::vector<std::vector<Slot>>(count + 1),
              .outputs = {outputs.begin(), outputs.end()}};
  std::vector<std::string> needed;  // in order of their first mention
  const auto need = [&](const std::string& name) {
    const bool is_given = std::find(given.begin(), given.end(), name) != given.end();
    if (!is_given && std::find(needed.begin(), needed.end(), name) == needed.end()) needed.push_back(name);
  };
  for (const std::string& name : outputs) need(name);
  const auto note_live = [&](std::size_t boundary) {
    for (const std::string& name : needed) route.live[boundary].push_back(slot_before(model, boundary, name));
  };
  note_live(count);
  for (std::size_t i = count; i-- > 0;) {
    const BlockSpec& block = model.blocks[i];
    const auto is_written = [&](const std::string& name) {
      return std::any_of(block.writes.begin(), block.writes.end(), [&](const Slot& slot) { return slot.name == name; });
    };
    if (std::any_of(needed.begin(), needed.end(), is_written)) {
      route.runs[i] = true;
      route.forward_flops += block.forward_flops;
      route.backward_flops += block.backward_flops;
      std::erase_if(needed, is_written);
      for (const std::string& name : block.reads) need(name);
    }
    note_live(i);
  }
  return route;
}

std::vector<int> depths_from_top(const ModelSpec& model) {
  std::vector<int> depths(model.blocks.size(), 0);
  for (std::size_t i = model.blocks.size(); i-- > 0;) {  // the depth of i is known: all that read it come later
    for (const std::string& name : model.blocks[i].reads) {
      for (std::size_t before = i; before-- > 0;) {
        const std::vector<Slot>& writes = model.blocks[before].writes;
        const bool is_writer =
            std::any_of(writes.begin(), writes.end(), [&](const Slot& slot) { return slot.name == name; });
        if (!is_writer) continue;
        depths[before] = std::max(depths[before], depths[i] + 1);
        break;
      }
    }
  }
  return depths;
}

}  // namespace triptych::models
