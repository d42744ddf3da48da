#include "ops/embedding.h"

#include "autograd/record.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "ops/index_rule.h"

namespace triptych::ops {

Variable embedding(const Variable& ids, const Variable& table, const Mesh& mesh) {
  const IndexRule::Applied rule = IndexRule("embedding", "bs,vh->bsh").apply({&ids, &table});
  const Tensor rows = table.tensor().contiguous();
  const Tensor numbers = ids.tensor().contiguous();
  const int64_t cols = rows.size(1);
  Shape begin;
  local_shape(table.global_shape(), table.layout(), mesh, &begin);
  Tensor y = Tensor::empty(rows.device(), rows.dtype(), Shape{numbers.size(0), numbers.size(1), cols});
  embedding_forward(rows.device().stream(), {.ids = numbers.data<int32_t>(),
                                             .table = rows.raw(),
                                             .out = y.raw(),
                                             .n = numbers.num_elements(),
                                             .cols = cols,
                                             .vocab_begin = begin[0],
                                             .vocab_local = rows.size(0),
                                             .table_dtype = rows.dtype(),
                                             .dtype = y.dtype()});
  return record(
      "embedding", {ids, table}, std::move(y), rule.global_shape(), rule.layout(),
      [rule, numbers, first = begin[0], num_rows = rows.size(0)](const Gradient& gradient, InputGradients& in) {
        const Tensor dy = gradient.tensor.contiguous();
        GradientTarget d = in.target(1, dy.device(), rule.gradient(1, gradient.layout));
        if (d.assign) d.tensor.fill_zero();
        embedding_backward(dy.device().stream(), {.ids = numbers.data<int32_t>(),
                                                  .dout = dy.raw(),
                                                  .dtable = d.tensor.data<float>(),
                                                  .n = numbers.num_elements(),
                                                  .cols = dy.shape().back(),
                                                  .vocab_begin = first,
                                                  .vocab_local = num_rows,
                                                  .dtype = dy.dtype()});
      });
}

Variable add_positions(const Variable& x, const Variable& positions) {
  const IndexRule::Applied rule = IndexRule("add_positions", "bsh,sh->bsh").apply({&x, &positions});
  const Tensor y = x.tensor().clone(), rows = positions.tensor().contiguous();
  kernels::add_positions(y.device().stream(), {.x = y.raw(),
                                               .pos = rows.data<float>(),
                                               .batch = y.size(0),
                                               .seq = y.size(1),
                                               .cols = y.size(2),
                                               .batch_stride = y.stride(0),
                                               .row_stride = y.stride(1),
                                               .dtype = y.dtype()});
  return record("add_positions", {x, positions}, y, x.global_shape(), rule.layout(),
                [rule](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  GradientTarget d = in.target(1, dy.device(), rule.gradient(1, gradient.layout));
                  if (d.tensor.defined()) {
                    if (d.assign) d.tensor.fill_zero();
                    sum_positions(dy.device().stream(), {.dx = dy.raw(),
                                                         .dpos = d.tensor.data<float>(),
                                                         .batch = dy.size(0),
                                                         .seq = dy.size(1),
                                                         .cols = dy.size(2),
                                                         .batch_stride = dy.stride(0),
                                                         .row_stride = dy.stride(1),
                                                         .dtype = dy.dtype()});
                  }
                  in.add(0, dy, rule.gradient(0, gradient.layout));
                });
}

Variable prepend_token(const Variable& x, const Variable& token) {
  const IndexRule::Applied rule = IndexRule("prepend_token", "bs!h,h->bth").apply({&x, &token});
  const Tensor& input = x.tensor();
  const int64_t batch = input.size(0), seq = input.size(1), cols = input.size(2);
  const int64_t row_bytes = cols * static_cast<int64_t>(dtype_bytes(input.dtype()));
  Device& device = input.device();
  const Tensor y = Tensor::empty(device, input.dtype(), Shape{batch, seq + 1, cols});
  const Tensor first = Tensor::empty(device, input.dtype(), Shape{cols});
  cast(device.stream(), token.tensor().raw(), DType::kFloat32, first.raw(), first.dtype(), cols);
  copy_rows(device.stream(), {.src = first.raw(),
                              .dst = y.raw(),
                              .rows = batch,
                              .row_bytes = row_bytes,
                              .src_stride_bytes = 0,
                              .dst_stride_bytes = (seq + 1) * row_bytes});
  y.slice(1, 1, seq).copy_from(input);
  return record("prepend_token", {x, token}, y, x.global_shape().with(1, x.global_shape()[1] + 1), rule.layout(),
                [rule](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  if (const SumTarget d = in.sum_target(1, dy.device(), rule.gradient(1, gradient.layout))) {
                    sum_rows(dy.device().stream(), {.x = dy.raw(),
                                                    .out = d,
                                                    .rows = dy.size(0),
                                                    .cols = dy.size(2),
                                                    .row_stride = dy.stride(0),
                                                    .dtype = dy.dtype()});
                  }
                  if (in.needed(0)) {
                    in.add(0, dy.slice(1, 1, dy.size(1) - 1).contiguous(), rule.gradient(0, gradient.layout));
                  }
                });
}

}  // namespace triptych::ops
