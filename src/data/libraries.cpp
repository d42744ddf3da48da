#include "data/libraries.h"

#include <fmt/core.h>
#include <hdf5.h>

namespace triptych::data {

std::string hdf5_version_text() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

}  // namespace triptych::data
