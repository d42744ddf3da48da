#include "ops/residual.h"

#include "autograd/record.h"
#include "kernels/residual_norm.h"
#include "ops/index_rule.h"

namespace triptych::ops {
namespace {

using Applied = IndexRule::Applied;

// Of the branch's bias, which there may not be.
const float* data_of(const Variable& bias) {
  return bias.defined() ? bias.tensor().data<float>() : nullptr;
}

// The gradients that go to z and its bias, as far as they are wanted; `dout` is x's.
ResidualBackwardArgs branch_gradient(const Tensor& dout, bool has_bias, const Layout& bias_layout,
                                     const DropoutArgs& dropout, InputGradients& in, Tensor& dz) {
  dz = dropout.drops() ? Tensor::empty(dout.device(), dout.dtype(), dout.shape()) : Tensor();
  return {.dout = dout.raw(),
          .dz = dz.defined() ? dz.raw() : nullptr,
          .dbias = has_bias ? in.sum_target(2, dout.device(), bias_layout) : SumTarget(),
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
  const bool has_bias = bias.defined();
  const Applied rule = has_bias ? IndexRule("residual", "bsh!,bsh!,h->bsh").apply({&x, &z, &bias})
                                : IndexRule("residual", "bsh!,bsh!->bsh").apply({&x, &z});
  const Tensor x_tensor = x.tensor().contiguous(), z_tensor = z.tensor().contiguous();
  const DropoutArgs mask = dropout_args(dropout, x, mesh);
  Tensor y = Tensor::empty(x_tensor.device(), x_tensor.dtype(), x_tensor.shape());
  residual_forward(x_tensor.device().stream(), {.x = x_tensor.raw(),
                                                .z = z_tensor.raw(),
                                                .bias = data_of(bias),
                                                .out = y.raw(),
                                                .dtype = x_tensor.dtype(),
                                                .z_dtype = z_tensor.dtype(),
                                                .dropout = mask});
  std::vector<Variable> inputs{x, z};
  if (has_bias) inputs.push_back(bias);
  return record("residual", std::move(inputs), std::move(y), x.global_shape(), rule.layout(),
                [rule, mask, has_bias](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  const Layout summed = has_bias ? rule.gradient(2, gradient.layout) : Layout();
                  Tensor dz;
                  const ResidualBackwardArgs args = branch_gradient(dy, has_bias, summed, mask, in, dz);
                  residual_backward(dy.device().stream(), args);
                  hand_out(dy, dz, rule.gradient(0, gradient.layout), in);
                });
}

ResidualNorm residual_norm(const Variable& x, const Variable& z, const Variable& bias, const Dropout& dropout,
                           const Variable& weight, const Variable& norm_bias, const Mesh& mesh, float epsilon) {
  const bool is_rms = !norm_bias.defined(), has_bias = bias.defined();
  std::vector<Variable> inputs{x, z};
  if (has_bias) inputs.push_back(bias);
  const int weight_input = static_cast<int>(inputs.size());
  inputs.push_back(weight);
  if (!is_rms) inputs.push_back(norm_bias);
  std::vector<IndexRule::Operand> operands;
  for (const Variable& input : inputs) operands.push_back({input.global_shape(), input.layout()});
  const char* const rules[] = {"bsh!,bsh!,h->bsh,bsh", "bsh!,bsh!,h,h->bsh,bsh", "bsh!,bsh!,h,h,h->bsh,bsh"};
  const Applied rule = IndexRule("residual_norm", rules[inputs.size() - 3]).apply(operands);
  const Tensor x_tensor = x.tensor().contiguous(), z_tensor = z.tensor().contiguous();
  const DropoutArgs mask = dropout_args(dropout, x, mesh);
  Device& device = x_tensor.device();
  const DType dtype = x_tensor.dtype();
  const int64_t rows = mask.batch * mask.seq;
  const Tensor sum = Tensor::empty(device, dtype, x_tensor.shape());
  Tensor y = Tensor::empty(device, dtype, x_tensor.shape());
  const Tensor mean = is_rms ? Tensor() : Tensor::empty(device, DType::kFloat32, Shape{rows});
  const Tensor rstd = Tensor::empty(device, DType::kFloat32, Shape{rows});
  residual_norm_forward(device.stream(),
                        {.x = x_tensor.raw(),
                         .z = z_tensor.raw(),
                         .bias = data_of(bias),
                         .out = sum.raw(),
                         .dtype = dtype,
                         .z_dtype = z_tensor.dtype(),
                         .dropout = mask},
                        {.x = sum.raw(),
                         .weight = weight.tensor().data<float>(),
                         .bias = is_rms ? nullptr : norm_bias.tensor().data<float>(),
                         .y = y.raw(),
                         .mean = is_rms ? nullptr : mean.data<float>(),
                         .rstd = rstd.data<float>(),
                         .rows = rows,
                         .cols = mask.cols,
                         .epsilon = epsilon,
                         .dtype = dtype});
  const auto backward = [rule, mask, sum, mean, rstd, scale = weight.tensor(), rows, is_rms, has_bias, weight_input](
                            std::span<const std::optional<Gradient>> dys, InputGradients& in) {
    const std::optional<Gradient>&dsum = dys[0], &dnorm = dys[1];
    const Layout& layout = (dnorm ? dnorm : dsum)->layout;
    if (dsum && !(dsum->layout == layout)) {
      throw LayoutError("residual_norm",
                        fmt::format("the gradients of the sum and of its norm must have one layout, found {} and {}. "
                                    "Redistribute one of the uses",
                                    dsum->layout.to_string(), layout.to_string()));
    }
    Stream& stream = sum.device().stream();
    const Layout dx_layout = rule.gradient(0, layout);
    const Layout summed = rule.gradient(static_cast<std::size_t>(weight_input), layout);  // of all that is [H]
    Tensor dz;
    if (!dnorm) {
      const Tensor dy = dsum->tensor.contiguous();
      residual_backward(stream, branch_gradient(dy, has_bias, summed, mask, in, dz));
      return hand_out(dy, dz, dx_layout, in);
    }
    const Tensor dy = dnorm->tensor.contiguous();
    const Tensor add = dsum ? dsum->tensor.contiguous() : Tensor();
    const Tensor dx = Tensor::empty(dy.device(), dy.dtype(), dy.shape());
    residual_norm_backward(stream,
                           {.dy = dy.raw(),
                            .x = sum.raw(),
                            .weight = scale.data<float>(),
                            .mean = is_rms ? nullptr : mean.data<float>(),
                            .rstd = rstd.data<float>(),
                            .add = add.defined() ? add.raw() : nullptr,
                            .dx = dx.raw(),
                            .dweight = in.sum_target(weight_input, dy.device(), summed),
                            .dbias = is_rms ? SumTarget() : in.sum_target(weight_input + 1, dy.device(), summed),
                            .rows = rows,
                            .cols = mask.cols,
                            .dtype = dy.dtype()},
                           branch_gradient(dx, has_bias, summed, mask, in, dz));
    hand_out(dx, dz, dx_layout, in);
  };
  std::vector<Variable> made =
      record_all("residual_norm", std::move(inputs),
                 {{sum, x.global_shape(), rule.layout(0)}, {std::move(y), x.global_shape(), rule.layout(1)}}, backward);
  return {std::move(made[0]), std::move(made[1])};
}

}  // namespace triptych::ops
