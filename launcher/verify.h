#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace triptych {

/// `triptych verify`: one step of a mesh against one rank.
void register_verify(CLI::App& app, std::function<int()>& run);

}  // namespace triptych
