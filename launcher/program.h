#pragma once

#include "tasks/task.h"

namespace triptych::launcher {

/// The `triptych` program with these tasks: another program can be it, with tasks of its own. Returns the exit code.
int run_program(int argc, char** argv, TaskTable tasks);

}  // namespace triptych::launcher
