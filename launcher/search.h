#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych search`: what is nearest to a text, a picture or a vector.
void register_search(CLI::App& app, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
