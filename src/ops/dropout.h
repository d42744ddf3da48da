#pragma once

#include "autograd/variable.h"
#include "base/philox.h"
#include "kernels/residual.h"
#include "parallel/mesh.h"

namespace triptych::ops {

/// Which elements a dropout drops, and of which samples stochastic depth drops all: pure functions of the keys and the
/// global element or sample, whatever the mesh.
struct Dropout {
  float probability = 0;
  RandomKey key;
  int64_t first_sample = 0;  ///< global index of the first row of dim 0
  float path_probability = 0;
  RandomKey path_key;
};

/// As the kernels take it, for the piece of x [B, S, H] that this rank holds.
DropoutArgs dropout_args(const Dropout& dropout, const Variable& x, const Mesh& mesh);

}  // namespace triptych::ops
