#pragma once

#include <string>

#include "base/rooms.h"

namespace triptych::data {

/// The version of HDF5, "1.10.8".
std::string hdf5_version_text();

}  // namespace triptych::data
