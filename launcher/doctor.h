#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace triptych::launcher {

/// `triptych doctor`: what this machine has, and what is missing.
void register_doctor(CLI::App& app, std::function<int()>& run);

}  // namespace triptych::launcher
