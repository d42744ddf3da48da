#include "ops/linear.h"

#include "kernels/elementwise.h"
#include "kernels/gelu.h"
#include "kernels/matmul.h"
#include "ops/rowwise.h"

namespace triptych {
namespace {

// Rows, inputs and outputs of the product as this rank holds them, and where the layouts put y and the gradients.
struct Plan {
  int64_t rows, in, out;
  Shape y_shape, y_global_shape;
  Layout y_layout;
};

Plan plan_linear(const Variable& x, const Variable& weight, bool has_bias) {
  const Shape& xs = x.tensor().shape();
  const Shape& ws = weight.tensor().shape();
  const int x_last = xs.rank() - 1, w_last = ws.rank() - 1;
  TRIPTYCH_CHECK(xs.back() == ws.back() && x.global_shape().back() == weight.global_shape().back(),
                 "linear: x {} and weight {} disagree on the last dim", x.global_shape().to_string(),
                 weight.global_shape().to_string());
  Plan plan;
  plan.rows = xs.product(0, x_last);
  plan.in = xs.back();
  plan.out = ws.product(0, w_last);
  const auto join = [&](const Shape& rows, const Shape& outs) {
    std::vector<int64_t> dims(rows.begin(), rows.end() - 1);
    dims.insert(dims.end(), outs.begin(), outs.end() - 1);
    return Shape(dims);
  };
  plan.y_shape = join(xs, ws);
  plan.y_global_shape = join(x.global_shape(), weight.global_shape());
  for (const Axis axis : kAxes) {
    const Placement xp = x.layout()[axis], wp = weight.layout()[axis];
    Placement yp;
    if (wp.is_replicate() && xp.is_replicate()) {
      yp = Placement::replicate();
    } else if (wp.is_replicate() && xp.is_shard() && xp.dim < x_last) {
      yp = xp;
    } else if (xp.is_replicate() && wp.is_shard() && wp.dim < w_last) {
      yp = Placement::shard(x_last + wp.dim);
    } else if (xp.is_shard(x_last) && wp.is_shard(w_last) && !has_bias) {
      yp = Placement::partial();
    } else {
      throw LayoutError(axis_name(axis), fmt::format("linear takes no x {} with weight {}{}. Redistribute x",
                                                     xp.to_string(), wp.to_string(), has_bias ? " and a bias" : ""));
    }
    plan.y_layout = plan.y_layout.with(axis, yp);
  }
  return plan;
}

// The layouts of dx and dW that a dy of the given layout leads to: a product is linear in dy, and sums over the index
// that an axis shards come out Partial on it.
struct GradientLayouts {
  Layout dx, dw;
};

GradientLayouts gradient_layouts(const Layout& x, int x_rank, const Layout& w, const Layout& dy) {
  GradientLayouts result;
  for (const Axis axis : kAxes) {
    const Placement xp = x[axis], wp = w[axis], dyp = dy[axis];
    if (xp.is_shard() && xp.dim < x_rank - 1) {
      result.dx = result.dx.with(axis, xp);
      result.dw = result.dw.with(axis, Placement::partial());
    } else if (xp.is_shard()) {  // the contracted index: y is Partial, dy complete
      if (!dyp.is_replicate()) {
        throw LayoutError(axis_name(axis), "the gradient of a row-parallel product must be Replicate");
      }
      result.dx = result.dx.with(axis, xp);
      result.dw = result.dw.with(axis, wp);
    } else if (wp.is_shard()) {
      result.dx = result.dx.with(axis, Placement::partial());
      result.dw = result.dw.with(axis, wp);
    } else {
      result.dx = result.dx.with(axis, dyp);
      result.dw = result.dw.with(axis, dyp);
    }
  }
  return result;
}

// The gradient's dtype is the input's: a product whose y is float32 gets a float32 dy, rounded once here.
Tensor in_dtype(const Tensor& dy, DType dtype) {
  const Tensor packed = dy.contiguous();
  if (packed.dtype() == dtype) return packed;
  Tensor result = Tensor::empty(packed.device(), dtype, packed.shape());
  cast(packed.device().stream(), packed.raw(), packed.dtype(), result.raw(), dtype, packed.num_elements());
  return result;
}

void forward_product(const Plan& plan, const Tensor& x, const Tensor& weight, const float* bias, const Tensor& y) {
  matmul(x.device().stream(), {.m = plan.rows,
                               .n = plan.out,
                               .k = plan.in,
                               .a = x.raw(),
                               .b = weight.raw(),
                               .transpose_b = true,
                               .c = y.raw(),
                               .bias = bias,
                               .input_dtype = x.dtype(),
                               .output_dtype = y.dtype()});
}

Tensor input_gradient(const Plan& plan, const Tensor& dy, const Tensor& weight, const Shape& x_shape) {
  Tensor dx = Tensor::empty(dy.device(), dy.dtype(), x_shape);
  matmul(dy.device().stream(), {.m = plan.rows,
                                .n = plan.in,
                                .k = plan.out,
                                .a = dy.raw(),
                                .b = weight.raw(),
                                .c = dx.raw(),
                                .input_dtype = dy.dtype(),
                                .output_dtype = dx.dtype()});
  return dx;
}

/// Of the weight, input 1, and of the bias where the operation has one as input 2: from one reading of dy.
void parameter_gradients(const Plan& plan, const Tensor& dy, const Tensor& x, const Layout& layout, bool has_bias,
                         InputGradients& in) {
  Stream& stream = dy.device().stream();
  const SumTarget dbias = has_bias && in.needed(2) ? sum_target(in, 2, layout) : SumTarget();
  if (in.needed(1)) {
    bool assign = false;
    const Tensor dw = in.parameter(1, layout, &assign);
    matmul(stream, {.m = plan.out,
                    .n = plan.in,
                    .k = plan.rows,
                    .a = dy.raw(),
                    .transpose_a = true,
                    .b = x.raw(),
                    .c = dw.raw(),
                    .accumulate = !assign,
                    .a_sums = dbias,
                    .input_dtype = dy.dtype(),
                    .output_dtype = DType::kFloat32});
  } else if (dbias) {
    sum_rows(stream, {.x = dy.raw(),
                      .out = dbias,
                      .rows = plan.rows,
                      .cols = plan.out,
                      .row_stride = plan.out,
                      .dtype = dy.dtype()});
  }
}

}  // namespace

Variable linear(const Variable& x, const Variable& weight, const Variable& bias, DType out) {
  const Plan plan = plan_linear(x, weight, bias.defined());
  const Tensor x_tensor = x.tensor().contiguous();
  Tensor y = Tensor::empty(x_tensor.device(), out, plan.y_shape);
  forward_product(plan, x_tensor, weight.tensor(), bias.defined() ? bias.tensor().data<float>() : nullptr, y);

  std::vector<Variable> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  return record("linear", std::move(inputs), std::move(y), plan.y_global_shape, plan.y_layout,
                [plan, x = x_tensor, x_layout = x.layout(), w = weight.tensor(), w_layout = weight.layout(),
                 has_bias = bias.defined()](const Gradient& gradient, InputGradients& in) {
                  const GradientLayouts layouts =
                      gradient_layouts(x_layout, x.shape().rank(), w_layout, gradient.layout);
                  const Tensor dy = in_dtype(gradient.tensor, x.dtype());
                  parameter_gradients(plan, dy, x, layouts.dw, has_bias, in);
                  if (in.needed(0)) in.add(0, input_gradient(plan, dy, w, x.shape()), layouts.dx);
                });
}

Variable gelu_linear(const Variable& h, const Variable& weight, DType out) {
  const Plan plan = plan_linear(h, weight, false);
  const Tensor h_tensor = h.tensor().contiguous();
  Stream& stream = h_tensor.device().stream();
  const Tensor a = Tensor::empty(h_tensor.device(), h_tensor.dtype(), h_tensor.shape());
  gelu_forward(stream, h_tensor.raw(), a.raw(), a.num_elements(), a.dtype());
  Tensor y = Tensor::empty(h_tensor.device(), out, plan.y_shape);
  forward_product(plan, a, weight.tensor(), nullptr, y);

  return record("gelu_linear", {h, weight}, std::move(y), plan.y_global_shape, plan.y_layout,
                [plan, h = h_tensor, h_layout = h.layout(), w = weight.tensor(), w_layout = weight.layout()](
                    const Gradient& gradient, InputGradients& in) {
                  const GradientLayouts layouts =
                      gradient_layouts(h_layout, h.shape().rank(), w_layout, gradient.layout);
                  const Tensor dy = in_dtype(gradient.tensor, h.dtype());
                  const Tensor dh = input_gradient(plan, dy, w, h.shape());
                  const Tensor again = Tensor::empty(h.device(), h.dtype(), h.shape());
                  gelu_backward(h.device().stream(), {.h = h.raw(),
                                                      .da = dh.raw(),
                                                      .dh = dh.raw(),
                                                      .a = again.raw(),
                                                      .n = h.num_elements(),
                                                      .dtype = h.dtype()});
                  parameter_gradients(plan, dy, again, layouts.dw, false, in);
                  in.add(0, dh, layouts.dx);
                });
}

}  // namespace triptych
