#include "ops/residual.h"

#include "kernels/residual_norm.h"
#include "ops/rowwise.h"

namespace triptych {
namespace {

void check_layouts(std::string_view operation, const Variable& x, const Variable& z) {
  require_whole_rows(operation, x.layout(), 3);
  if (!(x.layout() == z.layout())) {
    throw LayoutError(operation, fmt::format("x is {} and z is {}; they must be laid out alike. Redistribute z",
                                             x.layout().to_string(), z.layout().to_string()));
  }
}

// The gradients that go to z and its bias, as far as they are wanted; `dout` is x's.
ResidualBackwardArgs branch_gradient(const Tensor& dout, const Layout& layout, const DropoutArgs& dropout,
                                     InputGradients& in, Tensor& dz) {
  dz = dropout.p > 0 ? Tensor::empty(dout.device(), dout.dtype(), dout.shape()) : Tensor();
  return {.dout = dout.raw(),
          .dz = dz.defined() ? dz.raw() : nullptr,
          .dbias = in.needed(2) ? sum_target(in, 2, summed_over_rows("residual", layout, 3)) : SumTarget(),
          .dtype = dout.dtype(),
          .dropout = dropout};
}

void hand_out(const Tensor& dout, const Tensor& dz, const Layout& layout, InputGradients& in) {
  in.add(0, dout, layout);
  in.add(1, dz.defined() ? dz : dout, layout);
}

}  // namespace

Variable residual(const Variable& x, const Variable& z, const Variable& bias, const Dropout& dropout,
                  const Mesh& mesh) {
  check_layouts("residual", x, z);
  const Tensor x_tensor = x.tensor().contiguous(), z_tensor = z.tensor().contiguous();
  const DropoutArgs mask = dropout_args(dropout, x, mesh);
  Tensor y = Tensor::empty(x_tensor.device(), x_tensor.dtype(), x_tensor.shape());
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
                  Tensor dz;
                  const ResidualBackwardArgs args = branch_gradient(dy, gradient.layout, mask, in, dz);
                  residual_backward(dy.device().stream(), args);
                  hand_out(dy, dz, gradient.layout, in);
                });
}

ResidualNorm residual_norm(const Variable& x, const Variable& z, const Variable& bias, const Dropout& dropout,
                           const Variable& weight, const Variable& norm_bias, const Mesh& mesh, float epsilon) {
  check_layouts("residual_norm", x, z);
  const Tensor x_tensor = x.tensor().contiguous(), z_tensor = z.tensor().contiguous();
  const DropoutArgs mask = dropout_args(dropout, x, mesh);
  Device& device = x_tensor.device();
  const DType dtype = x_tensor.dtype();
  const int64_t rows = mask.batch * mask.seq;
  const Tensor sum = Tensor::empty(device, dtype, x_tensor.shape());
  Tensor y = Tensor::empty(device, dtype, x_tensor.shape());
  const Tensor mean = Tensor::empty(device, DType::kFloat32, Shape{rows});
  const Tensor rstd = Tensor::empty(device, DType::kFloat32, Shape{rows});
  residual_norm_forward(device.stream(),
                        {.x = x_tensor.raw(),
                         .z = z_tensor.raw(),
                         .bias = bias.tensor().data<float>(),
                         .out = sum.raw(),
                         .dtype = dtype,
                         .z_dtype = z_tensor.dtype(),
                         .dropout = mask},
                        {.x = sum.raw(),
                         .weight = weight.tensor().data<float>(),
                         .bias = norm_bias.tensor().data<float>(),
                         .y = y.raw(),
                         .mean = mean.data<float>(),
                         .rstd = rstd.data<float>(),
                         .rows = rows,
                         .cols = mask.cols,
                         .epsilon = epsilon,
                         .dtype = dtype});
  auto [sum_result, norm_result] =
      record_pair("residual_norm", {x, z, bias, weight, norm_bias}, {sum, x.global_shape(), x.layout()},
                  {std::move(y), x.global_shape(), x.layout()},
                  [mask, sum, mean, rstd, scale = weight.tensor(), rows](const Gradient* dsum, const Gradient* dnorm,
                                                                         InputGradients& in) {
                    const Layout& layout = (dnorm != nullptr ? dnorm : dsum)->layout;
                    if (dsum != nullptr && !(dsum->layout == layout)) {
                      throw LayoutError("residual_norm",
                                        fmt::format("the gradients of the sum and of its norm must have one layout, "
                                                    "found {} and {}. Redistribute one of the uses",
                                                    dsum->layout.to_string(), layout.to_string()));
                    }
                    Stream& stream = sum.device().stream();
                    Tensor dz;
                    if (dnorm == nullptr) {
                      const Tensor dy = dsum->tensor.contiguous();
                      residual_backward(stream, branch_gradient(dy, layout, mask, in, dz));
                      return hand_out(dy, dz, layout, in);
                    }
                    const Tensor dy = dnorm->tensor.contiguous();
                    const Tensor add = dsum != nullptr ? dsum->tensor.contiguous() : Tensor();
                    const Tensor dx = Tensor::empty(dy.device(), dy.dtype(), dy.shape());
                    const Layout summed = summed_over_rows("residual_norm", layout, 3);
                    residual_norm_backward(stream,
                                           {.dy = dy.raw(),
                                            .x = sum.raw(),
                                            .weight = scale.data<float>(),
                                            .mean = mean.data<float>(),
                                            .rstd = rstd.data<float>(),
                                            .add = add.defined() ? add.raw() : nullptr,
                                            .dx = dx.raw(),
                                            .dweight = sum_target(in, 3, summed),
                                            .dbias = sum_target(in, 4, summed),
                                            .rows = rows,
                                            .cols = mask.cols,
                                            .dtype = dy.dtype()},
                                           branch_gradient(dx, layout, mask, in, dz));
                    hand_out(dx, dz, layout, in);
                  });
  return {std::move(sum_result), std::move(norm_result)};
}

}  // namespace triptych
