#include "ops/pooling.h"

#include "kernels/normalize.h"
#include "kernels/pooling.h"
#include "ops/rowwise.h"

namespace triptych {
namespace {

using Forward = void (*)(Stream&, const PoolForwardArgs&);
using Backward = void (*)(Stream&, const PoolBackwardArgs&);

Variable pool(std::string_view name, const Variable& x, const Tensor& index, int32_t offset, Forward forward,
              Backward backward) {
  require_whole_rows(name, x.layout(), 3);
  for (const Axis axis : kAxes) {
    if (x.layout()[axis].is_shard(1)) {
      throw LayoutError(axis_name(axis), fmt::format("{} needs whole sequences. Redistribute x", name));
    }
  }
  const Tensor input = x.tensor().contiguous();
  const int64_t batch = input.size(0), seq = input.size(1), cols = input.size(2);
  Tensor y = Tensor::empty(input.device(), input.dtype(), Shape{batch, cols});
  const int32_t* rows = index.defined() ? index.data<int32_t>() : nullptr;
  forward(input.device().stream(), {.x = input.raw(),
                                    .index = rows,
                                    .index_offset = offset,
                                    .out = y.raw(),
                                    .batch = batch,
                                    .seq = seq,
                                    .cols = cols,
                                    .dtype = input.dtype(),
                                    .out_dtype = y.dtype()});
  return record(name, {x}, std::move(y), Shape{x.global_shape()[0], cols}, x.layout(),
                [index, offset, backward, batch, seq, cols](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  const Tensor dx = Tensor::empty(dy.device(), dy.dtype(), Shape{batch, seq, cols});
                  backward(dy.device().stream(), {.dout = dy.raw(),
                                                  .index = index.defined() ? index.data<int32_t>() : nullptr,
                                                  .index_offset = offset,
                                                  .dx = dx.raw(),
                                                  .batch = batch,
                                                  .seq = seq,
                                                  .cols = cols,
                                                  .dtype = dx.dtype(),
                                                  .out_dtype = dy.dtype()});
                  in.add(0, dx, gradient.layout);
                });
}

}  // namespace

Variable select_token(const Variable& x, const Tensor& index, int32_t offset) {
  return pool("select_token", x, index, offset, gather_rows, gather_rows_backward);
}

Variable mean_tokens(const Variable& x) {
  return pool("mean_tokens", x, Tensor(), 0, mean_pool, mean_pool_backward);
}

Variable l2_normalize(const Variable& x) {
  require_whole_rows("l2_normalize", x.layout(), 2);
  const Tensor input = x.tensor().contiguous();
  const int64_t rows = input.size(0), cols = input.size(1);
  const Tensor y = Tensor::empty(input.device(), DType::kFloat32, input.shape());
  const Tensor inverse = Tensor::empty(input.device(), DType::kFloat32, Shape{rows});
  l2_normalize_forward(
      input.device().stream(),
      {.x = input.data<float>(), .y = y.data<float>(), .inv_norm = inverse.data<float>(), .rows = rows, .cols = cols});
  return record("l2_normalize", {x}, y, x.global_shape(), x.layout(),
                [y, inverse, rows, cols](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  const Tensor dx = Tensor::empty(dy.device(), DType::kFloat32, dy.shape());
                  l2_normalize_backward(dy.device().stream(), {.dy = dy.data<float>(),
                                                               .y = y.data<float>(),
                                                               .inv_norm = inverse.data<float>(),
                                                               .dx = dx.data<float>(),
                                                               .rows = rows,
                                                               .cols = cols});
                  in.add(0, dx, gradient.layout);
                });
}

}  // namespace triptych
