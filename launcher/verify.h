#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych verify`: one step of a mesh against one rank.
void register_verify(CLI::App& app, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
