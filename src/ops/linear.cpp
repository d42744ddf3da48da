#include "ops/linear.h"

#include "autograd/kept.h"
#include "autograd/record.h"
#include "ops/add.h"
#include "ops/linear_product.h"
#include "ops/scale.h"

namespace triptych::ops {
namespace {

Variable linear_alone(const Variable& x, const Variable& weight, const Variable& bias, DType out) {
  const LinearProduct product = linear_product(x, weight, bias);
  const Tensor x_tensor = x.tensor().contiguous(), w_tensor = weight.tensor().contiguous();
  const Tensor b_tensor = bias.defined() ? bias.tensor().contiguous() : Tensor();
  Tensor y = Tensor::empty(x_tensor.device(), out, product.y_shape);
  multiply_by_weight(product, x_tensor, w_tensor, bias.defined() ? b_tensor.data<float>() : nullptr, y);

  std::vector<Variable> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  return record("linear", std::move(inputs), std::move(y), product.rule.global_shape(), product.rule.layout(),
                [product, kept = keep(x, x_tensor), x_shape = x_tensor.shape(), dtype = x_tensor.dtype(), w = w_tensor,
                 has_bias = bias.defined()](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.to(dtype).contiguous();
                  const Tensor again = in.needed(1) ? kept.tensor().contiguous() : Tensor();
                  weights_apart(product, dy, again, gradient.layout, has_bias, in);
                  if (!in.needed(0)) return;
                  Tensor dx = Tensor::empty(dy.device(), dtype, x_shape);
                  multiply_back(product, dy, w, dx);
                  in.add(0, std::move(dx), product.rule.gradient(0, gradient.layout));
                });
}

Variable activated_linear_alone(const Variable& h, const Variable& weight, Activation activation, DType out) {
  const ActivatedProduct activated = activated_product(h, weight, activation);
  const LinearProduct& product = activated.product;
  const Tensor h_tensor = h.tensor().contiguous(), w_tensor = weight.tensor().contiguous();
  Tensor y = Tensor::empty(h_tensor.device(), out, product.y_shape);
  multiply_by_weight(product, activated.activated(h_tensor), w_tensor, nullptr, y);

  return record("activated_linear", {h, weight}, std::move(y), product.rule.global_shape(), product.rule.layout(),
                [activated, h = h_tensor, w = w_tensor](const Gradient& gradient, InputGradients& in) {
                  const LinearProduct& of = activated.product;
                  const Tensor dy = gradient.tensor.to(h.dtype()).contiguous();
                  Tensor da;
                  if (in.needed(0)) {
                    da = Tensor::empty(h.device(), h.dtype(), activated.a_shape);
                    multiply_back(of, dy, w, da);
                  }
                  const Tensor dh = activated_backward(activated, h, da, dy, gradient.layout, in);
                  if (dh.defined()) in.add(0, dh, of.rule.gradient(0, gradient.layout));
                });
}

}  // namespace

Variable linear(const Variable& x, const Variable& weight, const Variable& bias, DType out) {
  return with_adapter(linear_alone(x, weight, bias, out), weight, x.dtype(),
                      [&](const Variable& a, DType dtype) { return linear(x, a, Variable(), dtype); });
}

Variable activated_linear(const Variable& h, const Variable& weight, Activation activation, DType out) {
  return with_adapter(activated_linear_alone(h, weight, activation, out), weight, h.dtype(),
                      [&](const Variable& a, DType dtype) { return activated_linear(h, a, activation, dtype); });
}

}  // namespace triptych::ops
