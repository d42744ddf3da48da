#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych merge`: a checkpoint with adapters becomes one of the plain model.
void register_merge(CLI::App& app, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
