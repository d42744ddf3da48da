#pragma once

#include "autograd/variable.h"
#include "base/philox.h"

namespace triptych {

/// Which elements a dropout drops: a pure function of the key and the global element, whatever the mesh.
struct Dropout {
  float probability = 0;
  RandomKey key;
  int64_t first_sample = 0;  ///< global index of the first row of dim 0
};

/// y = x + dropout(z + bias).
///
///   x, z [B, S, H]   laid out alike, dim 1 or nothing sharded on `tp`
///   bias [H]         a float32 parameter, Replicate: here and not in the row-parallel product, so that it counts once
///
/// Backward: keeps nothing but the key; draws the mask again. Local: never communicates.
/// Throws LayoutError if x or z is Partial or sharded by H.
Variable residual(const Variable& x, const Variable& z, const Variable& bias, const Dropout& dropout, const Mesh& mesh);

}  // namespace triptych
