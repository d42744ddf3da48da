#include "ops/dropout.h"

namespace triptych::ops {

DropoutArgs dropout_args(const Dropout& dropout, const Variable& x, const Mesh& mesh) {
  const Shape& shape = x.tensor().shape();
  Shape begin;
  local_shape(x.global_shape(), x.layout(), mesh, &begin);
  return {.batch = shape[0],
          .seq = shape[1],
          .cols = shape[2],
          .batch_begin = dropout.first_sample,
          .seq_begin = begin[1],
          .seq_total = x.global_shape()[1],
          .key = dropout.key,
          .p = dropout.probability,
          .path_key = dropout.path_key,
          .path_p = dropout.path_probability};
}

}  // namespace triptych::ops
