#pragma once

#include <memory>
#include <typeindex>
#include <unordered_map>

#include "base/rooms.h"

namespace triptych::device {

/// What a Stream keeps for kernel families: an object of a type, destroyed with the stream.
class StreamStates {
 public:
  /// The object of `type`, at its first use made by `make`.
  void* of(std::type_index type, void* (*make)(), void (*destroy)(void*));

 private:
  std::unordered_map<std::type_index, std::unique_ptr<void, void (*)(void*)>> states_;
};

}  // namespace triptych::device
