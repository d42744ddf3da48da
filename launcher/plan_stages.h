#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych plan stages`.
void register_plan_stages(CLI::App& plan, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
