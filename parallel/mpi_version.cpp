#include "parallel/mpi_version.h"

#define OMPI_SKIP_MPICXX 1  // the retired C++ classes, which do not link without their library
#include <mpi.h>

namespace triptych::parallel {

std::string mpi_version_text() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  const std::string whole(text, static_cast<std::size_t>(length));
  return whole.substr(0, whole.find(','));
}

}  // namespace triptych::parallel
