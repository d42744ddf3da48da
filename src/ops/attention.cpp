#include "ops/attention.h"

#include <cmath>

#include "kernels/attention.h"

namespace triptych {
namespace {

AttentionStrides packed_strides(int64_t seq, int64_t width, int64_t head_dim, int64_t copies) {
  return {.batch = seq * copies * width, .token = copies * width, .head = head_dim};
}

// The three thirds of a packed [B, S, 3, H].
void* third(const Tensor& qkv, int64_t which) {
  return static_cast<std::byte*>(qkv.raw()) + static_cast<std::size_t>(which * qkv.size(3)) * dtype_bytes(qkv.dtype());
}

}  // namespace

Variable attention(const Variable& qkv, int64_t num_heads, const AttentionMask& mask) {
  const Shape& global = qkv.global_shape();
  Layout layout;
  for (const Axis axis : kAxes) {
    const Placement p = qkv.layout()[axis];
    if (p.is_partial() || (p.is_shard() && p.dim != 0 && p.dim != 3)) {
      throw LayoutError(axis_name(axis), fmt::format("attention takes whole sequences: Replicate, Shard(0) or, by "
                                                     "heads, Shard(3), found {}",
                                                     p.to_string()));
    }
    layout = layout.with(axis, p.is_shard(3) ? Placement::shard(2) : p);
  }
  const Tensor input = qkv.tensor().contiguous();
  const int64_t batch = input.size(0), seq = input.size(1), width = input.size(3);
  const int64_t head_dim = global[3] / num_heads;
  TRIPTYCH_CHECK(head_dim * num_heads == global[3] && width % head_dim == 0, "{} heads of {} columns, {} here",
                 num_heads, global[3], width);
  Device& device = input.device();
  const AttentionShape shape{.batch = batch,
                             .num_heads = width / head_dim,
                             .num_queries = seq,
                             .num_keys = seq,
                             .head_dim = head_dim,
                             .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                             .causal = mask.causal,
                             .key_lengths = mask.lengths.defined() ? mask.lengths.data<int32_t>() : nullptr,
                             .dtype = input.dtype()};
  const AttentionStrides packed = packed_strides(seq, width, head_dim, 3),
                         plain = packed_strides(seq, width, head_dim, 1);
  Tensor o = Tensor::empty(device, input.dtype(), Shape{batch, seq, width});
  const Tensor lse = Tensor::empty(device, DType::kFloat32, Shape{batch, shape.num_heads, seq});
  attention_forward(device.stream(), {.shape = shape,
                                      .q = third(input, 0),
                                      .k = third(input, 1),
                                      .v = third(input, 2),
                                      .q_strides = packed,
                                      .k_strides = packed,
                                      .v_strides = packed,
                                      .o = o.raw(),
                                      .o_strides = plain,
                                      .lse = lse.data<float>()});
  return record("attention", {qkv}, o, Shape{global[0], global[1], global[3]}, layout,
                [input, o, lse, lengths = mask.lengths, shape, packed, plain, qkv_layout = qkv.layout()](
                    const Gradient& gradient, InputGradients& in) {
                  const Tensor d_o = gradient.tensor.contiguous();
                  const Tensor d_qkv = Tensor::empty(input.device(), input.dtype(), input.shape());
                  attention_backward(input.device().stream(), {.shape = shape,
                                                               .q = third(input, 0),
                                                               .k = third(input, 1),
                                                               .v = third(input, 2),
                                                               .q_strides = packed,
                                                               .k_strides = packed,
                                                               .v_strides = packed,
                                                               .o = o.raw(),
                                                               .o_strides = plain,
                                                               .d_o = d_o.raw(),
                                                               .d_o_strides = plain,
                                                               .lse = lse.data<float>(),
                                                               .dq = third(d_qkv, 0),
                                                               .dk = third(d_qkv, 1),
                                                               .dv = third(d_qkv, 2),
                                                               .dq_strides = packed,
                                                               .dk_strides = packed,
                                                               .dv_strides = packed});
                  Layout d_layout;
                  for (const Axis axis : kAxes) {
                    d_layout =
                        d_layout.with(axis, qkv_layout[axis].is_replicate() ? gradient.layout[axis] : qkv_layout[axis]);
                  }
                  in.add(0, d_qkv, d_layout);
                });
}

}  // namespace triptych
