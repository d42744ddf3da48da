#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych plan mesh` and `triptych plan step`.
void register_plan_mesh(CLI::App& plan, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
