#pragma once

#include <string>

namespace triptych {

/// The version of the library that multiplies matrices, "2.6.3 (OMP)".
std::string dnnl_version_text();

/// The instruction set that the vectorised kernels take on this machine, "AVX3".
std::string simd_target();

}  // namespace triptych
