#include "device/stream_states.h"

#include <utility>

#include "device/stream.h"

namespace triptych::device {

void* StreamStates::of(std::type_index type, void* (*make)(), void (*destroy)(void*)) {
  const auto found = states_.find(type);
  if (found != states_.end()) return found->second.get();
  std::unique_ptr<void, void (*)(void*)> made(make(), destroy);
  return states_.emplace(type, std::move(made)).first->second.get();
}

void* Stream::state_of(const std::type_info& type, void* (*make)(), void (*destroy)(void*)) {
  return states_->of(type, make, destroy);
}

}  // namespace triptych::device
