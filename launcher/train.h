#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych train`: under mpirun on as many ranks as the config's mesh has.
void register_train(CLI::App& app, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
