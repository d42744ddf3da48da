#include "ops/pooling.h"

#include <utility>

#include "autograd/record.h"
#include "kernels/gather.h"
#include "kernels/normalize.h"
#include "kernels/pooling.h"
#include "ops/index_rule.h"

namespace triptych::ops {
namespace {

// [B, S, H] to [B, H]: forward(input, y) and backward(dy, dx) call the kernels.
template <typename Forward, typename Backward>
Variable pool(std::string_view name, const Variable& x, const Forward& forward, const Backward& backward) {
  const IndexRule::Applied rule = IndexRule(name, "bs!h->bh").apply({&x});
  const Tensor input = x.tensor().contiguous();
  Tensor y = Tensor::empty(input.device(), input.dtype(), Shape{input.size(0), input.size(2)});
  forward(input, y);
  return record(name, {x}, std::move(y), rule.global_shape(), rule.layout(),
                [rule, backward, shape = input.shape()](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  const Tensor dx = Tensor::empty(dy.device(), dy.dtype(), shape);
                  backward(dy, dx);
                  in.add(0, dx, rule.gradient(0, gradient.layout));
                });
}

}  // namespace

Variable select_token(const Variable& x, const Tensor& index, int32_t offset) {
  const auto tokens = [index, offset](const Shape& shape) {
    return GatheredTokens{.index = index.defined() ? index.data<int32_t>() : nullptr,
                          .offset = offset,
                          .batch = shape[0],
                          .seq = shape[1],
                          .cols = shape[2]};
  };
  return pool(
      "select_token", x,
      [&](const Tensor& input, const Tensor& y) {
        gather_tokens(input.device().stream(), {.x = input.raw(),
                                                .out = y.raw(),
                                                .tokens = tokens(input.shape()),
                                                .dtype = input.dtype(),
                                                .out_dtype = y.dtype()});
      },
      [tokens](const Tensor& dy, const Tensor& dx) {
        gather_tokens_backward(dy.device().stream(), {.dout = dy.raw(),
                                                      .dx = dx.raw(),
                                                      .tokens = tokens(dx.shape()),
                                                      .dtype = dx.dtype(),
                                                      .out_dtype = dy.dtype()});
      });
}

Variable mean_tokens(const Variable& x) {
  return pool(
      "mean_tokens", x,
      [](const Tensor& input, const Tensor& y) {
        mean_pool(input.device().stream(), {.x = input.raw(),
                                            .out = y.raw(),
                                            .batch = input.size(0),
                                            .seq = input.size(1),
                                            .cols = input.size(2),
                                            .dtype = input.dtype(),
                                            .out_dtype = y.dtype()});
      },
      [](const Tensor& dy, const Tensor& dx) {
        mean_pool_backward(dy.device().stream(), {.dout = dy.raw(),
                                                  .dx = dx.raw(),
                                                  .batch = dx.size(0),
                                                  .seq = dx.size(1),
                                                  .cols = dx.size(2),
                                                  .dtype = dx.dtype(),
                                                  .out_dtype = dy.dtype()});
      });
}

Variable l2_normalize(const Variable& x) {
  const IndexRule::Applied rule = IndexRule("l2_normalize", "be!->be").apply({&x});
  const Tensor input = x.tensor().contiguous().to(DType::kFloat32);
  const int64_t rows = input.size(0), cols = input.size(1);
  const Tensor y = Tensor::empty(input.device(), DType::kFloat32, input.shape());
  const Tensor inverse = Tensor::empty(input.device(), DType::kFloat32, Shape{rows});
  l2_normalize_forward(
      input.device().stream(),
      {.x = input.data<float>(), .y = y.data<float>(), .inv_norm = inverse.data<float>(), .rows = rows, .cols = cols});
  return record(
      "l2_normalize", {x}, y, x.global_shape(), rule.layout(),
      [rule, y, inverse, rows, cols, dtype = x.tensor().dtype()](const Gradient& gradient, InputGradients& in) {
        const Tensor dy = gradient.tensor.contiguous();
        const Tensor dx = Tensor::empty(dy.device(), DType::kFloat32, dy.shape());
        l2_normalize_backward(dy.device().stream(), {.dy = dy.data<float>(),
                                                     .y = y.data<float>(),
                                                     .inv_norm = inverse.data<float>(),
                                                     .dx = dx.data<float>(),
                                                     .rows = rows,
                                                     .cols = cols});
        in.add(0, dx.to(dtype), rule.gradient(0, gradient.layout));
      });
}

}  // namespace triptych::ops
