#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych bench scaling`: starts `bench step` of a config on several meshes by turns, and compares them.
void register_bench_scaling(CLI::App& bench, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
