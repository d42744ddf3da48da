#include "execution/stage.h"

#include <algorithm>

#include "nn/decoding.h"

namespace triptych::execution {

const Variable& value_of(const Values& values, const std::string& name) {
  const auto found = values.find(name);
  TRIPTYCH_CHECK(found != values.end(), "slot {} is not there", name);
  return found->second;
}

Stage::Stage(const ModelSpec& model, const Partition& partition, int index, ParameterStore& store,
             std::span<const std::string> full_blocks)
    : model_(&model),
      index_(index),
      begin_(static_cast<std::size_t>(partition.begin[static_cast<std::size_t>(index)])),
      end_(static_cast<std::size_t>(partition.begin[static_cast<std::size_t>(index) + 1])) {
  for (std::size_t i = begin_; i < end_; ++i) {
    blocks_.push_back(model.blocks[i].make(store));
    parameters_.push_back({i, store.take_given()});
    is_full_.push_back(std::find(full_blocks.begin(), full_blocks.end(), model.blocks[i].name) != full_blocks.end());
  }
}

std::vector<std::string> Stage::fields(const Route& route) const {
  std::vector<std::string> names;
  for (std::size_t i = begin_; i < end_; ++i) {
    if (!route.runs[i]) continue;
    const std::vector<std::string>& fields = model_->blocks[i].fields;
    names.insert(names.end(), fields.begin(), fields.end());
  }
  return names;
}

Values Stage::forward(const Route& route, const Values& inputs, const Fields& fields, const Pass& pass) const {
  Values values = inputs;
  for (std::size_t i = begin_; i < end_; ++i) {
    if (!route.runs[i]) continue;
    const BlockSpec& spec = model_->blocks[i];
    const TraceScope scope(pass.trace, "block", [&] { return spec.name; });
    // What a decoder attends to is computed whole, before the first token, though it is in the same pass.
    Pass own = pass;
    if (pass.recompute == Recompute::kSelective && is_full_[i - begin_]) own.recompute = Recompute::kFull;
    const auto is_text = [](const Slot& slot) { return slot.is_text; };
    if (std::none_of(spec.writes.begin(), spec.writes.end(), is_text)) own.cache = nullptr;
    std::vector<Variable> read;
    for (const std::string& name : spec.reads) {
      // What a decoder attends to is in its cache from the second token on.
      const bool is_cached = pass.cache != nullptr && pass.cache->position() > 0 && !values.contains(name);
      read.push_back(is_cached ? Variable() : value_of(values, name));
    }
    std::vector<Variable> written = blocks_[i - begin_]->forward(read, fields, own);
    read.clear();
    TRIPTYCH_CHECK(written.size() == spec.writes.size(), "block {} writes {} slots, its spec says {}", spec.name,
                   written.size(), spec.writes.size());
    for (std::size_t k = 0; k < written.size(); ++k) values[spec.writes[k].name] = std::move(written[k]);
    if (pass.weights != nullptr) pass.weights->tick();
    const TraceScope moves(pass.trace, "poll", [] { return std::string("what is in flight"); });
    pass.mesh.progress();
  }
  Values outputs;
  for (const Slot& slot : slots_out(route)) {
    const Variable& value = value_of(values, slot.name);
    TRIPTYCH_CHECK(value.layout() == pass.layout(slot.place), "slot {} is laid out {}, the plan says {}", slot.name,
                   value.layout().to_string(), pass.layout(slot.place).to_string());
    outputs[slot.name] = value;
  }
  return outputs;
}

SlotShape slot_shape(const Slot& slot, int64_t num_samples, const Pass& pass) {
  std::vector<int64_t> dims{num_samples * pass.mesh.size(Axis::kDp)};
  dims.insert(dims.end(), slot.dims.begin(), slot.dims.end());
  // One token at a time, the first with what stands in front of it.
  if (pass.cache != nullptr && slot.is_text) dims[1] = 1 + (pass.cache->position() == 0 ? slot.prefix : 0);
  return {Shape(std::span<const int64_t>(dims)), pass.layout(slot.place), slot.dtype.value_or(pass.dtype)};
}

}  // namespace triptych::execution
