#pragma once

#include <memory>
#include <utility>

namespace triptych::emulator {

/// A value that is never destroyed: what a program has queued runs at the end of the process, among its statics'
/// destructors.
template <class T>
T& immortal(T value) {
  return *std::make_unique<T>(std::move(value)).release();
}

}  // namespace triptych::emulator
