#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych search`: pictures for a text.
void register_search(CLI::App& app, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
