#include "ops/linear_product.h"

#include <array>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "ops/add.h"
#include "ops/linear.h"
#include "ops/scale.h"

namespace triptych::ops {
namespace {

int64_t rows_of(const Tensor& tensor, int64_t row_elements) {
  return row_elements == 0 ? 0 : tensor.num_elements() / row_elements;
}

// The rules by the weight's number of dims, without and with a bias.
using Rules = std::array<std::array<std::string_view, 2>, 3>;
constexpr Rules kLinearRules{{{"+...i,oi->...o", "+...i,oi,o->...o"},
                              {"+...i,poi->...po", "+...i,poi,po->...po"},
                              {"+...i,qpoi->...qpo", "+...i,qpoi,qpo->...qpo"}}};
// Of an activation, and of a gated one, whose input has one dim more.
constexpr Rules kActivatedRules{{{"...i,oi->...o", ""}, {"...i,poi->...po", ""}, {"...i,qpoi->...qpo", ""}}};
constexpr Rules kGatedRules{{{"...n!i,oi->...o", ""}, {"...n!i,poi->...po", ""}, {"...n!i,qpoi->...qpo", ""}}};

// Of an x that may not be there yet.
struct Rows {
  const Shape& local;
  const Shape& global;
  const Layout& layout;
};

LinearProduct product_of(std::string_view name, const Rules& rules, const Rows& x, const Variable& weight,
                         const Variable& bias, bool gated = false) {
  const Shape &xs = x.local, &ws = weight.tensor().shape();
  const int w_last = ws.rank() - 1, num_outer = xs.rank() - (gated ? 2 : 1);
  TRIPTYCH_CHECK(w_last >= 1 && w_last <= static_cast<int>(rules.size()), "{}: a weight of {} dims", name, ws.rank());
  TRIPTYCH_CHECK(!gated || xs[num_outer] == 2, "{} of {}: a gate and what it multiplies", name, xs.to_string());
  const bool has_bias = bias.defined();
  std::vector<IndexRule::Operand> operands{{x.global, x.layout}, {weight.global_shape(), weight.layout()}};
  if (has_bias) operands.push_back({bias.global_shape(), bias.layout()});
  LinearProduct product{
      .in = xs.back(),
      .out = ws.product(0, w_last),
      .y_shape = {},
      .rule = IndexRule(name, rules[static_cast<std::size_t>(w_last - 1)][has_bias ? 1 : 0]).apply(operands)};
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

void parameter_gradients(const LinearProduct& product, const Tensor& dy, const Tensor& x, const Layout& layout,
                         bool has_bias, InputGradients& in) {
  Device& device = dy.device();
  const int64_t rows = rows_of(dy, product.out);
  const SumTarget dbias = has_bias ? in.sum_target(2, device, product.rule.gradient(2, layout)) : SumTarget();
  if (in.needed(1)) {
    const GradientTarget dw = in.target(1, device, product.rule.gradient(1, layout));
    matmul(device.stream(), {.m = product.out,
                             .n = product.in,
                             .k = rows,
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
                               .rows = rows,
                               .cols = product.out,
                               .row_stride = product.out,
                               .dtype = dy.dtype()});
  }
}

}  // namespace

LinearProduct linear_product(const Variable& x, const Variable& weight, const Variable& bias) {
  return linear_product(x.tensor().shape(), x.global_shape(), x.layout(), weight, bias);
}

LinearProduct linear_product(const Shape& local, const Shape& global, const Layout& layout, const Variable& weight,
                             const Variable& bias) {
  return product_of("linear", kLinearRules, {local, global, layout}, weight, bias);
}

ActivatedProduct activated_product(const Variable& h, const Variable& weight, Activation activation) {
  const bool gated = is_gated(activation);
  ActivatedProduct result{
      .product = product_of("activated_linear", gated ? kGatedRules : kActivatedRules,
                            {h.tensor().shape(), h.global_shape(), h.layout()}, weight, Variable(), gated),
      .activation = activation,
      .gated = gated,
      .a_shape = {}};
  std::vector<int64_t> a_dims = h.tensor().shape().to_vector();
  if (gated) a_dims.erase(a_dims.end() - 2);
  result.a_shape = Shape(a_dims);
  return result;
}

Tensor ActivatedProduct::activated(const Tensor& h) const {
  Tensor a = Tensor::empty(h.device(), h.dtype(), a_shape);
  activation_forward(h.device().stream(), {.h = h.raw(),
                                           .a = a.raw(),
                                           .rows = rows_of(a, product.in),
                                           .cols = product.in,
                                           .activation = activation,
                                           .dtype = h.dtype()});
  return a;
}

void multiply_by_weight(const LinearProduct& product, const Tensor& x, const Tensor& weight, const float* bias,
                        const Tensor& y) {
  matmul(x.device().stream(), {.m = rows_of(y, product.out),
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

void multiply_back(const LinearProduct& product, const Tensor& dy, const Tensor& weight, const Tensor& dx) {
  matmul(dy.device().stream(), {.m = rows_of(dx, product.in),
                                .n = product.in,
                                .k = product.out,
                                .a = dy.raw(),
                                .b = weight.raw(),
                                .c = dx.raw(),
                                .input_dtype = dy.dtype(),
                                .output_dtype = dx.dtype()});
}

void weights_apart(const LinearProduct& product, const Tensor& dy, const Tensor& x, const Layout& layout, bool has_bias,
                   InputGradients& in) {
  const auto weights = [product, dy, x, layout, has_bias](InputGradients& later) {
    parameter_gradients(product, dy, x, layout, has_bias, later);
  };
  if (has_bias) {
    in.apart({1, 2}, weights);
  } else {
    in.apart({1}, weights);
  }
}

Tensor activated_backward(const ActivatedProduct& activated, const Tensor& h, const Tensor& da, const Tensor& dy,
                          const Layout& layout, InputGradients& in) {
  const bool needs_again = in.needed(1);
  Tensor dh, again;  // again: f(h) once more, which the weight's gradient wants
  if (da.defined()) {
    if (needs_again) again = Tensor::empty(h.device(), h.dtype(), activated.a_shape);
    dh = activated.gated ? Tensor::empty(h.device(), h.dtype(), h.shape()) : da;
    activation_backward(h.device().stream(), {.h = h.raw(),
                                              .da = da.raw(),
                                              .dh = dh.raw(),
                                              .a = again.defined() ? again.raw() : nullptr,
                                              .rows = rows_of(da, activated.product.in),
                                              .cols = activated.product.in,
                                              .activation = activated.activation,
                                              .dtype = h.dtype()});
  } else if (needs_again) {
    again = activated.activated(h);
  }
  weights_apart(activated.product, dy, again, layout, false, in);
  return dh;
}

Variable with_adapter(const Variable& y, const Variable& weight, DType inputs,
                      const std::function<Variable(const Variable& a, DType dtype)>& product) {
  const LowRankTerm* adapter = weight.adapter();
  if (adapter == nullptr) return y;
  const Variable low = scale(product(adapter->a, inputs), adapter->scale);
  return add(y, linear(low, adapter->b, Variable(), y.dtype()));
}

}  // namespace triptych::ops
