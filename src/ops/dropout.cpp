#include "ops/dropout.h"

namespace triptych {

DropoutArgs dropout_args(const Dropout& dropout, const Variable& x, const Mesh& mesh) {
  const Shape& shape = x.tensor().shape();
  const int64_t seq_total = x.global_shape()[1];
  const Group& tp = mesh.group(Axis::kTp);
  const Range rows =
      x.layout()[Axis::kTp].is_shard(1) ? shard_range(seq_total, tp.size(), tp.rank()) : Range{0, shape[1]};
  return {.batch = shape[0],
          .seq = shape[1],
          .cols = shape[2],
          .batch_begin = dropout.first_sample,
          .seq_begin = rows.begin,
          .seq_total = seq_total,
          .key = dropout.key,
          .p = dropout.probability};
}

}  // namespace triptych
