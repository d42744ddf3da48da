#pragma once

#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::kernels {

/// A library or instruction set that the backend computes with: {"BLAS", "oneDNN 2.6.3 (OMP)"}.
struct KernelLibrary {
  std::string name, version;
};
std::vector<KernelLibrary> kernel_libraries();

}  // namespace triptych::kernels
