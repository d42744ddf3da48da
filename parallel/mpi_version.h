#pragma once

#include <string>

#include "base/rooms.h"

namespace triptych::parallel {

/// The MPI library, "Open MPI v4.1.4". Needs no MPI_Init.
std::string mpi_version_text();

}  // namespace triptych::parallel
