#include "launcher/backend.h"

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <unistd.h>

#include "base/error.h"
#include "device/backend.h"

namespace triptych::launcher {
namespace {

std::string program_name(std::string_view kind) {
  return kind == "cpu" ? "triptych" : fmt::format("triptych-{}", kind);
}

std::string remedy(std::string_view kind) {
  if (kind != "cuda") return fmt::format("Build the target `{}`", program_name(kind));
  return "`cmake --preset release && cmake --build --preset release` builds it where the CUDA toolkit and NCCL are "
         "installed; or use run.device = \"cpu\"";
}

}  // namespace

std::string_view other_backend_kind() {
  return backend_kind() == "cuda" ? "cpu" : "cuda";
}

std::filesystem::path other_backends_program() {
  return program_of(other_backend_kind());
}

std::filesystem::path program_of(std::string_view kind) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path program = self.parent_path() / program_name(kind);
  return !error && std::filesystem::exists(program, error) ? program : std::filesystem::path();
}

void hand_over_to(std::string_view device) {
  if (device == backend_kind()) return;
  const std::filesystem::path program = program_of(device);
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
                              device, program_name(device), remedy(device)));
}

}  // namespace triptych::launcher
