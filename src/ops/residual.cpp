#include "ops/residual.h"

#include "kernels/elementwise.h"
#include "kernels/residual.h"
#include "ops/rowwise.h"

namespace triptych {

Variable residual(const Variable& x, const Variable& z, const Variable& bias, const Dropout& dropout,
                  const Mesh& mesh) {
  require_whole_rows("residual", x.layout(), 3);
  if (!(x.layout() == z.layout())) {
    throw LayoutError("residual", fmt::format("x is {} and z is {}; they must be laid out alike. Redistribute z",
                                              x.layout().to_string(), z.layout().to_string()));
  }
  const Tensor x_tensor = x.tensor().contiguous(), z_tensor = z.tensor().contiguous();
  const Shape shape = x_tensor.shape();
  const Placement tp = x.layout()[Axis::kTp];
  const Range rows = tp.is_shard(1)
                         ? shard_range(x.global_shape()[1], mesh.group(Axis::kTp).size(), mesh.group(Axis::kTp).rank())
                         : Range{0, shape[1]};
  const DropoutArgs mask{.batch = shape[0],
                         .seq = shape[1],
                         .cols = shape[2],
                         .batch_begin = dropout.first_sample,
                         .seq_begin = rows.begin,
                         .seq_total = x.global_shape()[1],
                         .key = dropout.key,
                         .p = dropout.probability};
  Tensor y = Tensor::empty(x_tensor.device(), x_tensor.dtype(), shape);
  residual_forward(x_tensor.device().stream(), {.x = x_tensor.raw(),
                                                .z = z_tensor.raw(),
                                                .bias = bias.tensor().data<float>(),
                                                .out = y.raw(),
                                                .dtype = x_tensor.dtype(),
                                                .z_dtype = z_tensor.dtype(),
                                                .dropout = mask});
  return record("residual", {x, z, bias}, std::move(y), x.global_shape(), x.layout(),
                [mask](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  Tensor dz = dy;
                  if (mask.p > 0) {
                    dz = Tensor::empty(dy.device(), dy.dtype(), dy.shape());
                    residual_backward(dy.device().stream(),
                                      {.dout = dy.raw(), .dz = dz.raw(), .dtype = dy.dtype(), .dropout = mask});
                  }
                  if (in.needed(2)) {
                    const Tensor db = in.parameter(2, summed_over_rows("residual", gradient.layout, 3));
                    sum_rows(dy.device().stream(), {.x = dz.raw(),
                                                    .out = db.data<float>(),
                                                    .rows = mask.batch * mask.seq,
                                                    .cols = mask.cols,
                                                    .row_stride = mask.cols,
                                                    .dtype = dz.dtype()});
                  }
                  in.add(0, dy, gradient.layout);
                  in.add(1, dz, gradient.layout);
                });
}

}  // namespace triptych
