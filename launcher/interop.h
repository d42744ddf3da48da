#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych import` and `triptych export`: models in the files of other libraries, and checkpoints of ours.
void register_interop(CLI::App& app, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
