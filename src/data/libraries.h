#pragma once

#include <string>

namespace triptych {

/// The version of HDF5, "1.10.8".
std::string hdf5_version_text();

}  // namespace triptych
