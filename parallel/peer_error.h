#pragma once

#include <string>
#include <utility>

#include "base/error.h"

namespace triptych::parallel {

/// What a rank knows of a peer's failure.
///   kCause   it has found it by itself: nobody came in time, a process has died
///   kEcho    a peer has closed the connection. Why, that peer knows: it may have found the cause, and given up for it
enum class Evidence { kCause, kEcho };

/// A peer died, or did not come to an operation in time. All who wait for it get one; World::ask_all lets one rank
/// tell.
struct PeerError : WorldError {
  ///   waits   what this rank waited for: "number 20, all_reduce(sum, float32 x 7) in group dp"
  PeerError(std::string_view where, std::string_view message, std::string waits, Evidence knows = Evidence::kCause)
      : WorldError(where, message), waiting(std::move(waits)), evidence(knows) {}

  std::string waiting;
  Evidence evidence;
};

}  // namespace triptych::parallel
