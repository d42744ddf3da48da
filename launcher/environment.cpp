#include "launcher/environment.h"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <sys/prctl.h>
#include <unistd.h>

#include "device/backend.h"

namespace triptych::launcher {

void prepare_environment(char** argv) {
  std::vector<EnvironmentSetting> settings = backend_environment();
  // Idle threads that spin take the cores from ranks and loader threads that work: 3x slower when there are more of
  // them than cores.
  settings.push_back({"OMP_WAIT_POLICY", "passive"});
  bool is_complete = true;
  for (const EnvironmentSetting& setting : settings) {
    if (std::getenv(setting.name.c_str()) != nullptr) continue;
    is_complete = false;
    ::setenv(setting.name.c_str(), setting.value.c_str(), 0);
  }
  if (!is_complete) ::execv("/proc/self/exe", argv);
  // Else `top` and `pkill` would know it by the name it was started anew by, "exe".
  std::error_code ignored;
  const std::string name = std::filesystem::read_symlink("/proc/self/exe", ignored).filename().string();
  if (!ignored) ::prctl(PR_SET_NAME, name.c_str());
}

}  // namespace triptych::launcher
