#pragma once

#include <string>
#include <utility>

#include "base/error.h"

namespace triptych::parallel {

/// A peer died, or did not come to an operation in time. All who wait for it get one; World::ask_all lets one rank
/// tell.
struct PeerError : WorldError {
  ///   waits   what this rank waited for: "number 20, all_reduce(sum, float32 x 7) in group dp"
  PeerError(std::string_view where, std::string_view message, std::string waits)
      : WorldError(where, message), waiting(std::move(waits)) {}

  std::string waiting;
};

}  // namespace triptych::parallel
