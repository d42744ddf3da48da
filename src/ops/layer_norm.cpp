#include "ops/layer_norm.h"

#include "ops/rowwise.h"

namespace triptych {

Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, float epsilon) {
  const Tensor input = x.tensor().contiguous();
  const int rank = input.shape().rank();
  require_whole_rows("layer_norm", x.layout(), rank);
  const int64_t cols = input.shape().back();
  const int64_t rows = input.shape().product(0, rank - 1);
  Device& device = input.device();
  Tensor y = Tensor::empty(device, input.dtype(), input.shape());
  const Tensor mean = Tensor::empty(device, DType::kFloat32, Shape{rows});
  const Tensor rstd = Tensor::empty(device, DType::kFloat32, Shape{rows});
  layer_norm_forward(device.stream(), {.x = input.raw(),
                                       .weight = weight.tensor().data<float>(),
                                       .bias = bias.tensor().data<float>(),
                                       .y = y.raw(),
                                       .mean = mean.data<float>(),
                                       .rstd = rstd.data<float>(),
                                       .rows = rows,
                                       .cols = cols,
                                       .epsilon = epsilon,
                                       .dtype = input.dtype()});
  return record("layer_norm", {x, weight, bias}, std::move(y), x.global_shape(), x.layout(),
                [input, mean, rstd, scale = weight.tensor(), rows, cols](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  const Layout summed = summed_over_rows("layer_norm", gradient.layout, dy.shape().rank());
                  const Gradient* residual = in.so_far(0);
                  const bool add_on_the_way = residual != nullptr && residual->layout == gradient.layout;
                  const Tensor add = add_on_the_way ? residual->tensor.contiguous() : Tensor();
                  const Tensor dx = Tensor::empty(dy.device(), dy.dtype(), dy.shape());
                  layer_norm_backward(dy.device().stream(), {.dy = dy.raw(),
                                                             .x = input.raw(),
                                                             .weight = scale.data<float>(),
                                                             .mean = mean.data<float>(),
                                                             .rstd = rstd.data<float>(),
                                                             .add = add.defined() ? add.raw() : nullptr,
                                                             .dx = dx.raw(),
                                                             .dweight = sum_target(in, 1, summed),
                                                             .dbias = sum_target(in, 2, summed),
                                                             .rows = rows,
                                                             .cols = cols,
                                                             .dtype = dy.dtype()});
                  if (add_on_the_way) {
                    in.replace(0, dx, gradient.layout);
                  } else {
                    in.add(0, dx, gradient.layout);
                  }
                });
}

}  // namespace triptych
