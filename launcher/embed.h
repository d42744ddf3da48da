#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych embed`: a data set's pictures or texts as vectors in a NumPy file.
void register_embed(CLI::App& app, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
