#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace triptych::launcher {

/// Adds `triptych report` to `app`. When it is what the user asked for, parsing sets `run` to the work that is left,
/// which returns the exit code.
void register_report(CLI::App& app, std::function<int()>& run);

}  // namespace triptych::launcher
