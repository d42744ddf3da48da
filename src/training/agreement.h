#pragma once

#include <functional>

#include "base/error.h"
#include "parallel/group.h"

namespace triptych {

/// An error that every rank of the world throws alike: it is printed once, and no rank waits for another.
struct AgreedError : Error {
  AgreedError(ErrorKind error_kind, const std::string& text) : Error(error_kind, text) {}
};

/// Runs `work` on every rank and lets all know how it went: if it threw on any, every rank throws an AgreedError with
/// the kind and message of the first one that failed; a world of one throws what it threw. Collective. For set-up and
/// checkpoints, not for every step.
void together(Group& world, const std::function<void()>& work);

}  // namespace triptych
