#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych eval`: retrieval on data that training did not see.
void register_eval(CLI::App& app, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
