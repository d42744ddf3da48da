#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// Adds `triptych plan` to `app`. When it is what the user asked for, parsing sets `run` to the work that is left,
/// which returns the exit code.
void register_plan(CLI::App& app, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
