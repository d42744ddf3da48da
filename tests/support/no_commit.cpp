#include "base/program_identity.h"

namespace triptych::base {

// Tests are not linked anew with each commit: cmake/commit.cmake.
std::string_view program_commit() {
  return "";
}

}  // namespace triptych::base
