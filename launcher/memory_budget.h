#pragma once

#include "launcher/ranks.h"

namespace triptych::launcher {

/// With parallel.memory_budget_mb, sets parallel.recompute to the first mode from the config's own on with which no
/// rank holds more than that, as `triptych plan memory` counts it, and says on standard error which that is. Rank 0
/// asks, so all ranks do the same. Collective. Throws AgreedError, of the user's kind where no mode fits; it says what
/// each would need.
void fit_memory_budget(RunConfig& config, const ConfigArguments& arguments, Group& world);

}  // namespace triptych::launcher
