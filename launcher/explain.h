#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych explain`: where a run's model looks in a picture.
void register_explain(CLI::App& app, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
