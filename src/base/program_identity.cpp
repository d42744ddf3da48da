#include "base/program_identity.h"

#include <array>
#include <ctime>

#include <unistd.h>

#include "base/error.h"
#include "base/hash.h"

namespace triptych::base {

std::string_view program_version() {
  return TRIPTYCH_VERSION;
}

std::string compiler_text() {
#ifdef __clang__
  return "clang++ " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

std::string program_hash() {
  try {
    return hash_file("/proc/self/exe").hex();
  } catch (const WorldError&) {
    return "unknown";
  }
}

std::string machine_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

std::string utc_time_text() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

}  // namespace triptych::base
