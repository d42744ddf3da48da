#include "launcher/backend.h"

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <unistd.h>

#include "base/error.h"
#include "device/backend.h"

namespace triptych::launcher {

std::string_view other_backend_kind() {
  return backend_kind() == "cuda" ? "cpu" : "cuda";
}

std::filesystem::path other_backends_program() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path other = self.parent_path() / (backend_kind() == "cuda" ? "triptych" : "triptych-cuda");
  return !error && std::filesystem::exists(other, error) ? other : std::filesystem::path();
}

void hand_over_to(std::string_view device) {
  if (device == backend_kind()) return;
  const std::filesystem::path program = other_backends_program();
  if (program.empty()) return;
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string words{std::istreambuf_iterator<char>(file), {}};
  std::vector<char*> arguments;
  for (std::size_t at = 0; at < words.size(); at = words.find('\0', at) + 1) arguments.push_back(words.data() + at);
  arguments.push_back(nullptr);
  ::execv(program.c_str(), arguments.data());
}

void require_backend(std::string_view device) {
  if (device == backend_kind()) return;
  throw UserError("run.device",
                  fmt::format("`{}` needs a build with that backend, and there is no {} beside this program. {}",
                              device, device == "cuda" ? "triptych-cuda" : "triptych",
                              device == "cuda" ? "Install the CUDA toolkit and configure with -DTRIPTYCH_CUDA=ON, or "
                                                 "use run.device = \"cpu\""
                                               : "Build the target `triptych`"));
}

}  // namespace triptych::launcher
