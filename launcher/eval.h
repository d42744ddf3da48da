#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace triptych {

/// `triptych eval`: retrieval on data that training did not see.
void register_eval(CLI::App& app, std::function<int()>& run);

}  // namespace triptych
