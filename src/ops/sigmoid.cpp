#include "ops/sigmoid.h"

#include "kernels/elementwise.h"
#include "ops/add.h"
#include "ops/scale.h"
#include "ops/tanh.h"

namespace triptych::ops {

Variable sigmoid(const Variable& x) {
  const Tensor half = Tensor::empty(x.tensor().device(), x.dtype(), x.tensor().shape());
  kernels::fill(half.device().stream(), half.raw(), 0.5f, half.num_elements(), half.dtype());
  return add(scale(tanh(scale(x, 0.5f)), 0.5f), Variable::constant(half, x.global_shape(), x.layout()));
}

}  // namespace triptych::ops
