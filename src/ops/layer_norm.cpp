#include "ops/layer_norm.h"

#include <string_view>
#include <vector>

#include "autograd/record.h"
#include "kernels/layer_norm.h"
#include "ops/index_rule.h"

namespace triptych::ops {

namespace {

// Layer norm, or without a bias the RMS norm.
Variable normalize(std::string_view name, const Variable& x, const Variable& weight, const Variable& bias,
                   float epsilon) {
  const bool is_rms = !bias.defined();
  const IndexRule::Applied rule = is_rms ? IndexRule(name, "...h!,h->...h").apply({&x, &weight})
                                         : IndexRule(name, "...h!,h,h->...h").apply({&x, &weight, &bias});
  const Tensor input = x.tensor().contiguous();
  const int64_t cols = input.shape().back();
  const int64_t rows = input.shape().product(0, input.shape().rank() - 1);
  Device& device = input.device();
  Tensor y = Tensor::empty(device, input.dtype(), input.shape());
  const Tensor mean = is_rms ? Tensor() : Tensor::empty(device, DType::kFloat32, Shape{rows});
  const Tensor rstd = Tensor::empty(device, DType::kFloat32, Shape{rows});
  layer_norm_forward(device.stream(), {.x = input.raw(),
                                       .weight = weight.tensor().data<float>(),
                                       .bias = is_rms ? nullptr : bias.tensor().data<float>(),
                                       .y = y.raw(),
                                       .mean = is_rms ? nullptr : mean.data<float>(),
                                       .rstd = rstd.data<float>(),
                                       .rows = rows,
                                       .cols = cols,
                                       .epsilon = epsilon,
                                       .dtype = input.dtype()});
  std::vector<Variable> inputs{x, weight};
  if (!is_rms) inputs.push_back(bias);
  return record(
      name, std::move(inputs), std::move(y), x.global_shape(), rule.layout(),
      [rule, input, mean, rstd, scale = weight.tensor(), rows, cols, is_rms](const Gradient& gradient,
                                                                             InputGradients& in) {
        const Tensor dy = gradient.tensor.contiguous();
        Device& on = dy.device();
        const Layout dx_layout = rule.gradient(0, gradient.layout);
        const std::optional<Gradient> residual = in.so_far(0);
        const bool add_on_the_way = residual && residual->layout == dx_layout && residual->tensor.dtype() == dy.dtype();
        const Tensor add = add_on_the_way ? residual->tensor.contiguous() : Tensor();
        const Tensor dx = Tensor::empty(on, dy.dtype(), dy.shape());
        layer_norm_backward(on.stream(),
                            {.dy = dy.raw(),
                             .x = input.raw(),
                             .weight = scale.data<float>(),
                             .mean = is_rms ? nullptr : mean.data<float>(),
                             .rstd = rstd.data<float>(),
                             .add = add.defined() ? add.raw() : nullptr,
                             .dx = dx.raw(),
                             .dweight = in.sum_target(1, on, rule.gradient(1, gradient.layout)),
                             .dbias = is_rms ? SumTarget() : in.sum_target(2, on, rule.gradient(2, gradient.layout)),
                             .rows = rows,
                             .cols = cols,
                             .dtype = dy.dtype()});
        if (add_on_the_way) {
          in.replace(0, dx, dx_layout);
        } else {
          in.add(0, dx, dx_layout);
        }
      });
}

}  // namespace

Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, float epsilon) {
  TRIPTYCH_CHECK(bias.defined(), "layer_norm of {} without a bias", x.global_shape().to_string());
  return normalize("layer_norm", x, weight, bias, epsilon);
}

Variable rms_norm(const Variable& x, const Variable& weight, float epsilon) {
  return normalize("rms_norm", x, weight, Variable(), epsilon);
}

}  // namespace triptych::ops
