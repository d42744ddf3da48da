#include "ops/embedding.h"

#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "ops/rowwise.h"

namespace triptych {

Variable embedding(const Tensor& ids, const Shape& ids_global_shape, const Layout& ids_layout, const Variable& table,
                   const Mesh& mesh) {
  const Tensor& rows = table.tensor();
  const int64_t cols = rows.size(1);
  Shape begin;
  local_shape(table.global_shape(), table.layout(), mesh, &begin);
  const Shape shape{ids.size(0), ids.size(1), cols};
  Layout layout = ids_layout;
  for (const Axis axis : kAxes) {
    if (table.layout()[axis].is_replicate()) continue;
    if (!table.layout()[axis].is_shard(0) || !ids_layout[axis].is_replicate()) {
      throw LayoutError(axis_name(axis),
                        fmt::format("embedding takes a table by rows with replicated ids, found {} and {}",
                                    table.layout()[axis].to_string(), ids_layout[axis].to_string()));
    }
    layout = layout.with(axis, Placement::partial());
  }
  Tensor y = Tensor::empty(rows.device(), rows.dtype(), shape);
  embedding_forward(rows.device().stream(), {.ids = ids.data<int32_t>(),
                                             .table = rows.raw(),
                                             .out = y.raw(),
                                             .n = ids.num_elements(),
                                             .cols = cols,
                                             .vocab_begin = begin[0],
                                             .vocab_local = rows.size(0),
                                             .table_dtype = rows.dtype(),
                                             .dtype = y.dtype()});
  return record("embedding", {table}, std::move(y), Shape{ids_global_shape[0], ids_global_shape[1], cols}, layout,
                [ids, begin, num_rows = rows.size(0), table_layout = table.layout()](const Gradient& gradient,
                                                                                     InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  Layout d_layout;
                  for (const Axis axis : kAxes) {
                    const Placement p = gradient.layout[axis];
                    d_layout = d_layout.with(axis, p.is_replicate() ? table_layout[axis] : Placement::partial());
                  }
                  embedding_backward(dy.device().stream(), {.ids = ids.data<int32_t>(),
                                                            .dout = dy.raw(),
                                                            .dtable = in.parameter(0, d_layout).data<float>(),
                                                            .n = ids.num_elements(),
                                                            .cols = dy.shape().back(),
                                                            .vocab_begin = begin[0],
                                                            .vocab_local = num_rows,
                                                            .dtype = dy.dtype()});
                });
}

Variable add_positions(const Variable& x, const Variable& positions, const Mesh& mesh) {
  require_whole_rows("add_positions", x.layout(), 3);
  Shape begin;
  local_shape(x.global_shape(), x.layout(), mesh, &begin);
  const Tensor y = x.tensor().clone();
  const int64_t cols = y.size(2);
  const int64_t offset = begin[1] * cols;
  add_positions(y.device().stream(), {.x = y.raw(),
                                      .pos = positions.tensor().data<float>() + offset,
                                      .batch = y.size(0),
                                      .seq = y.size(1),
                                      .cols = cols,
                                      .batch_stride = y.stride(0),
                                      .row_stride = cols,
                                      .dtype = y.dtype()});
  return record("add_positions", {x, positions}, y, x.global_shape(), x.layout(),
                [offset](const Gradient& gradient, InputGradients& in) {
                  const Tensor dy = gradient.tensor.contiguous();
                  const Tensor d = in.parameter(1, summed_over_rows("add_positions", gradient.layout, 3));
                  sum_positions(dy.device().stream(), {.dx = dy.raw(),
                                                       .dpos = d.data<float>() + offset,
                                                       .batch = dy.size(0),
                                                       .seq = dy.size(1),
                                                       .cols = dy.size(2),
                                                       .batch_stride = dy.stride(0),
                                                       .row_stride = dy.size(2),
                                                       .dtype = dy.dtype()});
                  in.add(0, dy, gradient.layout);
                });
}

Variable prepend_token(const Variable& x, const Variable& token) {
  require_whole_rows("prepend_token", x.layout(), 3);
  for (const Axis axis : kAxes) {
    if (x.layout()[axis].is_shard(1)) throw LayoutError(axis_name(axis), "prepend_token needs whole sequences");
  }
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
  Shape global = x.global_shape();
  global[1] += 1;
  return record("prepend_token", {x, token}, y, global, x.layout(), [](const Gradient& gradient, InputGradients& in) {
    const Tensor dy = gradient.tensor.contiguous();
    sum_rows(dy.device().stream(), {.x = dy.raw(),
                                    .out = sum_target(in, 1, summed_over_rows("prepend_token", gradient.layout, 3)),
                                    .rows = dy.size(0),
                                    .cols = dy.size(2),
                                    .row_stride = dy.stride(0),
                                    .dtype = dy.dtype()});
    if (in.needed(0)) in.add(0, dy.slice(1, 1, dy.size(1) - 1).contiguous(), gradient.layout);
  });
}

}  // namespace triptych
