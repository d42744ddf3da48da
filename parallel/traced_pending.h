#pragma once

#include <memory>

#include "base/trace.h"
#include "parallel/group.h"

namespace triptych::parallel {

/// `pending`, with a span in `trace` from now until it is known to be done, and one for the time that its rank waits
/// for it. The trace must outlive what comes back.
std::shared_ptr<Pending> traced(std::shared_ptr<Pending> pending, Trace& trace, const GroupIdentity& group,
                                const Operation& operation);

}  // namespace triptych::parallel
