#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych bench cluster`: measures this machine's rates, and writes the file that plans are made with.
void register_bench_cluster(CLI::App& bench, std::function<int()>& run, TaskTable tasks);

}  // namespace triptych::launcher
