#include <fmt/core.h>

#include "base/program_identity.h"

// Apart from the rest of program_identity.h: only what says its release must be linked with a commit.

namespace triptych::base {

std::string program_release() {
  const std::string_view commit = program_commit();
  return fmt::format("{} (commit {})", program_version(),
                     commit.empty() ? "unknown: built outside a git checkout" : commit);
}

}  // namespace triptych::base
