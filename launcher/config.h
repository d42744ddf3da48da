#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych config`: makes a config for a data set, checks one, or prints what keys there are.
void register_config(CLI::App& app, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
