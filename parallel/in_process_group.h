#pragma once

#include <chrono>
#include <functional>

#include "parallel/group.h"

namespace triptych::parallel {

struct InProcessOptions {
  /// How long a wait lasts before a missing peer is an error.
  std::chrono::milliseconds timeout{60'000};
};

/// Ranks as threads of this process, for tests: calls `body` on `size` threads, each with its own group of all of them,
/// and returns when all have returned. Reductions add in the order of the ranks. A send is done only once it is
/// received, so what would deadlock over MPI with large messages deadlocks here with small ones too, and is an error
/// after the time-out.
///
/// If a rank throws, the others' operations and waits throw WorldError, and the first exception is thrown again here.
/// Ranks that called different collectives, or stated different counts or types, all get InternalError saying what each
/// of them called. A rank that returns while others still wait for it is found at once, not by the time-out.
void run_ranks(int size, const std::function<void(Group& world)>& body, const InProcessOptions& options = {});

}  // namespace triptych::parallel
