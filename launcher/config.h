#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych config`: checks a config, or prints what keys there are.
void register_config(CLI::App& app, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
