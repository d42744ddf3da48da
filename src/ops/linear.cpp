#include "ops/linear.h"

#include <array>

#include "autograd/kept.h"
#include "autograd/record.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "ops/add.h"
#include "ops/index_rule.h"
#include "ops/scale.h"

namespace triptych::ops {
namespace {

// The rules by the weight's number of dims, without and with a bias.
using Rules = std::array<std::array<std::string_view, 2>, 3>;
constexpr Rules kLinearRules{{{"+...i,oi->...o", "+...i,oi,o->...o"},
                              {"+...i,poi->...po", "+...i,poi,po->...po"},
                              {"+...i,qpoi->...qpo", "+...i,qpoi,qpo->...qpo"}}};
// Of an activation, and of a gated one, whose input has one dim more.
constexpr Rules kActivatedRules{{{"...i,oi->...o", ""}, {"...i,poi->...po", ""}, {"...i,qpoi->...qpo", ""}}};
constexpr Rules kGatedRules{{{"...n!i,oi->...o", ""}, {"...n!i,poi->...po", ""}, {"...n!i,qpoi->...qpo", ""}}};

// Rows, inputs and outputs as this rank holds them, and what the index rule says.
struct Product {
  int64_t rows, in, out;
  Shape y_shape;
  IndexRule::Applied rule;
};

Product product_of(std::string_view name, const Rules& rules, const Variable& x, const Variable& weight,
                   const Variable& bias, bool gated = false) {
  const Shape& xs = x.tensor().shape();
  const Shape& ws = weight.tensor().shape();
  const int w_last = ws.rank() - 1, num_outer = xs.rank() - (gated ? 2 : 1);
  TRIPTYCH_CHECK(w_last >= 1 && w_last <= static_cast<int>(rules.size()), "{}: a weight of {} dims", name, ws.rank());
  TRIPTYCH_CHECK(!gated || xs[num_outer] == 2, "{} of {}: a gate and what it multiplies", name, xs.to_string());
  const bool has_bias = bias.defined();
  const IndexRule index_rule(name, rules[static_cast<std::size_t>(w_last - 1)][has_bias ? 1 : 0]);
  Product product{.rows = xs.product(0, num_outer),
                  .in = xs.back(),
                  .out = ws.product(0, w_last),
                  .y_shape = {},
                  .rule = has_bias ? index_rule.apply({&x, &weight, &bias}) : index_rule.apply({&x, &weight})};
  for (const Axis axis : kAxes) {
    if (has_bias && product.rule.layout()[axis].is_partial()) {
      throw LayoutError(axis_name(axis), fmt::format("{}: the result is Partial, so a bias would count on every rank. "
                                                     "Add it after the reduction",
                                                     name));
    }
  }
  std::vector<int64_t> y_dims(xs.begin(), xs.begin() + num_outer);
  y_dims.insert(y_dims.end(), ws.begin(), ws.end() - 1);
  product.y_shape = Shape(y_dims);
  return product;
}

void forward_product(const Product& product, const Tensor& x, const Tensor& weight, const float* bias,
                     const Tensor& y) {
  matmul(x.device().stream(), {.m = product.rows,
                               .n = product.out,
                               .k = product.in,
                               .a = x.raw(),
                               .b = weight.raw(),
                               .transpose_b = true,
                               .c = y.raw(),
                               .bias = bias,
                               .input_dtype = x.dtype(),
                               .output_dtype = y.dtype()});
}

Tensor input_gradient(const Product& product, const Tensor& dy, const Tensor& weight, const Shape& x_shape) {
  Tensor dx = Tensor::empty(dy.device(), dy.dtype(), x_shape);
  matmul(dy.device().stream(), {.m = product.rows,
                                .n = product.in,
                                .k = product.out,
                                .a = dy.raw(),
                                .b = weight.raw(),
                                .c = dx.raw(),
                                .input_dtype = dy.dtype(),
                                .output_dtype = dx.dtype()});
  return dx;
}

/// Of the weight, input 1, and of the bias where the operation has one as input 2: from one reading of dy.
void parameter_gradients(const Product& product, const Tensor& dy, const Tensor& x, const Layout& layout, bool has_bias,
                         InputGradients& in) {
  Device& device = dy.device();
  const SumTarget dbias = has_bias ? in.sum_target(2, device, product.rule.gradient(2, layout)) : SumTarget();
  if (in.needed(1)) {
    const GradientTarget dw = in.target(1, device, product.rule.gradient(1, layout));
    matmul(device.stream(), {.m = product.out,
                             .n = product.in,
                             .k = product.rows,
                             .a = dy.raw(),
                             .transpose_a = true,
                             .b = x.raw(),
                             .c = dw.tensor.raw(),
                             .accumulate = !dw.assign,
                             .a_sums = dbias,
                             .input_dtype = dy.dtype(),
                             .output_dtype = DType::kFloat32});
  } else if (dbias) {
    sum_rows(device.stream(), {.x = dy.raw(),
                               .out = dbias,
                               .rows = product.rows,
                               .cols = product.out,
                               .row_stride = product.out,
                               .dtype = dy.dtype()});
  }
}

// y and the term of the weight's adapter, of whose A `product` makes the product that y is of the weight.
template <typename ProductWith>
Variable with_adapter(const Variable& y, const Variable& weight, DType inputs, const ProductWith& product) {
  const LowRankTerm* adapter = weight.adapter();
  if (adapter == nullptr) return y;
  const Variable low = scale(product(adapter->a, inputs), adapter->scale);
  return add(y, linear(low, adapter->b, Variable(), y.dtype()));
}

Variable linear_alone(const Variable& x, const Variable& weight, const Variable& bias, DType out) {
  const Product product = product_of("linear", kLinearRules, x, weight, bias);
  const Tensor x_tensor = x.tensor().contiguous(), w_tensor = weight.tensor().contiguous();
  const Tensor b_tensor = bias.defined() ? bias.tensor().contiguous() : Tensor();
  Tensor y = Tensor::empty(x_tensor.device(), out, product.y_shape);
  forward_product(product, x_tensor, w_tensor, bias.defined() ? b_tensor.data<float>() : nullptr, y);

  std::vector<Variable> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  return record("linear", std::move(inputs), std::move(y), product.rule.global_shape(), product.rule.layout(),
                [product, kept = keep(x, x_tensor), x_shape = x_tensor.shape(), dtype = x_tensor.dtype(), w = w_tensor,
                 has_bias = bias.defined()](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.to(dtype).contiguous();
                  const Tensor again = in.needed(1) ? kept.tensor().contiguous() : Tensor();
                  const auto weights = [product, dy, again, layout = gradient.layout, has_bias](InputGradients& later) {
                    parameter_gradients(product, dy, again, layout, has_bias, later);
                  };
                  if (has_bias) {
                    in.apart({1, 2}, weights);
                  } else {
                    in.apart({1}, weights);
                  }
                  if (in.needed(0)) {
                    in.add(0, input_gradient(product, dy, w, x_shape), product.rule.gradient(0, gradient.layout));
                  }
                });
}

Variable activated_linear_alone(const Variable& h, const Variable& weight, Activation activation, DType out) {
  const bool gated = is_gated(activation);
  const Product product =
      product_of("activated_linear", gated ? kGatedRules : kActivatedRules, h, weight, Variable(), gated);
  const Tensor h_tensor = h.tensor().contiguous(), w_tensor = weight.tensor().contiguous();
  std::vector<int64_t> a_dims = h_tensor.shape().to_vector();
  if (gated) a_dims.erase(a_dims.end() - 2);
  const Shape a_shape(a_dims);
  const Tensor a = Tensor::empty(h_tensor.device(), h_tensor.dtype(), a_shape);
  const auto forward = [product, activation](const Tensor& of, const Tensor& to) {
    activation_forward(of.device().stream(), {.h = of.raw(),
                                              .a = to.raw(),
                                              .rows = product.rows,
                                              .cols = product.in,
                                              .activation = activation,
                                              .dtype = of.dtype()});
  };
  forward(h_tensor, a);
  Tensor y = Tensor::empty(h_tensor.device(), out, product.y_shape);
  forward_product(product, a, w_tensor, nullptr, y);

  return record("activated_linear", {h, weight}, std::move(y), product.rule.global_shape(), product.rule.layout(),
                [product, forward, activation, gated, a_shape, h = h_tensor, w = w_tensor](const Gradient& gradient,
                                                                                           InputGradients& in) {
                  const Tensor dy = gradient.tensor.to(h.dtype()).contiguous();
                  Tensor dh, again;  // of h, and f(h) once more, which the weight's gradient wants
                  if (in.needed(1)) again = Tensor::empty(h.device(), h.dtype(), a_shape);
                  if (in.needed(0)) {
                    const Tensor da = input_gradient(product, dy, w, a_shape);
                    dh = gated ? Tensor::empty(h.device(), h.dtype(), h.shape()) : da;
                    activation_backward(h.device().stream(), {.h = h.raw(),
                                                              .da = da.raw(),
                                                              .dh = dh.raw(),
                                                              .a = again.defined() ? again.raw() : nullptr,
                                                              .rows = product.rows,
                                                              .cols = product.in,
                                                              .activation = activation,
                                                              .dtype = h.dtype()});
                  } else {
                    forward(h, again);
                  }
                  in.apart({1}, [product, dy, again, layout = gradient.layout](InputGradients& later) {
                    parameter_gradients(product, dy, again, layout, false, later);
                  });
                  if (dh.defined()) in.add(0, dh, product.rule.gradient(0, gradient.layout));
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
