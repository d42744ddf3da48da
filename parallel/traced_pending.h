#pragma once

#include <memory>

#include "base/trace.h"
#include "parallel/group.h"

namespace triptych::parallel {

/// `pending`, with a span in `trace` from `begin`, when it was asked for, until it is done (known to be, where nobody
/// can say when that was), and one for the time that its rank waits for it. The trace must outlive what comes back.
std::shared_ptr<Pending> traced(std::shared_ptr<Pending> pending, Trace& trace, const GroupIdentity& group,
                                const Operation& operation, int64_t begin);

/// Bytes that the best algorithm moves through each of so many ranks (as nccl-tests counts them).
int64_t moved_bytes(const Operation& operation, int num_ranks);

}  // namespace triptych::parallel
