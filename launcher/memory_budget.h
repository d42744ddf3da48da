#pragma once

#include "launcher/ranks.h"

namespace triptych::launcher {

/// With parallel.memory_budget_mb, makes the config recompute as little as it can for no rank to hold more than that
/// (see fit_memory), and says on standard error what that is. Rank 0 has `triptych-paper` find it out, so all ranks do
/// the same. Collective. Throws AgreedError, of the user's kind where nothing fits; it says what each mode would need.
void fit_memory_budget(RunConfig& config, const ConfigArguments& arguments, Group& world);

}  // namespace triptych::launcher
