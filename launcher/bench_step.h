#pragma once

#include <functional>

#include "tasks/task.h"

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych bench step`, `triptych bench gemm`: what a step and a matrix product reach.
void register_bench_step(CLI::App& bench, std::function<int()>& run, TaskTable tasks);
void register_bench_gemm(CLI::App& bench, std::function<int()>& run);

}  // namespace triptych::launcher
