#include "ops/attention.h"

#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "autograd/kept.h"
#include "autograd/record.h"
#include "kernels/attention.h"
#include "ops/index_rule.h"

namespace triptych::ops {
namespace {

// Where queries, keys or values lie: in an input of the operation, as number `part` of the `parts` [.., H] side by
// side.
struct Place {
  std::size_t input;
  int64_t part, parts;
};

struct View {
  void* data;
  AttentionStrides strides;
};

View view(const Tensor& tensor, const Place& place, int64_t head_dim) {
  const int64_t width = tensor.shape().back(), sequence = tensor.size(1);
  const auto offset = static_cast<std::size_t>(place.part * width) * dtype_bytes(tensor.dtype());
  return {static_cast<std::byte*>(tensor.raw()) + offset,
          {.batch = sequence * place.parts * width, .token = place.parts * width, .head = head_dim}};
}

Variable attend(const IndexRule& index_rule, std::string_view name, const std::vector<Variable>& inputs,
                const std::array<Place, 3>& qkv, int64_t num_heads, const AttentionMask& mask, bool again) {
  std::vector<IndexRule::Operand> operands;
  std::vector<Tensor> tensors;
  for (const Variable& input : inputs) {
    operands.push_back({input.global_shape(), input.layout()});
    tensors.push_back(input.tensor().contiguous());
  }
  const IndexRule::Applied rule = index_rule.apply(operands);
  for (const Place& place : qkv) {
    const Shape& shape = inputs[place.input].global_shape();
    TRIPTYCH_CHECK(place.parts == 1 || shape[2] == place.parts, "{} needs {} rows side by side, found {}", name,
                   place.parts, shape.to_string());
  }
  const Tensor &q = tensors[qkv[0].input], &k = tensors[qkv[1].input];
  const int64_t global_width = inputs[0].global_shape().back(), width = q.shape().back();
  const int64_t head_dim = global_width / num_heads;
  TRIPTYCH_CHECK(head_dim * num_heads == global_width && width % head_dim == 0, "{} heads of {} columns, {} here",
                 num_heads, global_width, width);
  const AttentionShape shape{.batch = q.size(0),
                             .num_heads = width / head_dim,
                             .num_queries = q.size(1),
                             .num_keys = k.size(1),
                             .head_dim = head_dim,
                             .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                             .causal = mask.causal,
                             .key_lengths = mask.lengths.defined() ? mask.lengths.data<int32_t>() : nullptr,
                             .dtype = q.dtype()};
  const auto views = [qkv, head_dim](const std::vector<Tensor>& of) {
    return std::array{view(of[qkv[0].input], qkv[0], head_dim), view(of[qkv[1].input], qkv[1], head_dim),
                      view(of[qkv[2].input], qkv[2], head_dim)};
  };
  // Gives o, and leaves the rows' log-sum-exp in `lse`.
  const auto forward = [shape, views, tensors, lengths = mask.lengths](Tensor& lse) {
    const Tensor& like = tensors.front();
    const Tensor o = Tensor::empty(like.device(), like.dtype(),
                                   Shape{shape.batch, shape.num_queries, shape.num_heads * shape.head_dim});
    lse = Tensor::empty(like.device(), DType::kFloat32, Shape{shape.batch, shape.num_heads, shape.num_queries});
    const std::array<View, 3> in = views(tensors);
    const View out = view(o, {0, 0, 1}, shape.head_dim);
    attention_forward(like.device().stream(), {.shape = shape,
                                               .q = in[0].data,
                                               .k = in[1].data,
                                               .v = in[2].data,
                                               .q_strides = in[0].strides,
                                               .k_strides = in[1].strides,
                                               .v_strides = in[2].strides,
                                               .o = out.data,
                                               .o_strides = out.strides,
                                               .lse = lse.data<float>()});
    return o;
  };
  const auto lse = std::make_shared<Tensor>();
  Tensor made = forward(*lse);
  Kept kept(made);
  if (again) {
    *lse = Tensor();
    kept = Kept([forward, lse] { return forward(*lse); });
  }
  const Variable result = record(
      name, inputs, std::move(made), rule.global_shape(), rule.layout(),
      [rule, tensors, views, kept, lse, lengths = mask.lengths, shape](const Gradient& gradient, InputGradients& in) {
        const Tensor o = kept.tensor();
        const View o_view = view(o, {0, 0, 1}, shape.head_dim);
        const Tensor d_o = gradient.tensor.contiguous();
        std::vector<Tensor> gradients;
        for (const Tensor& t : tensors) gradients.push_back(Tensor::empty(t.device(), t.dtype(), t.shape()));
        const std::array<View, 3> in_views = views(tensors), out_views = views(gradients);
        attention_backward(d_o.device().stream(), {.shape = shape,
                                                   .q = in_views[0].data,
                                                   .k = in_views[1].data,
                                                   .v = in_views[2].data,
                                                   .q_strides = in_views[0].strides,
                                                   .k_strides = in_views[1].strides,
                                                   .v_strides = in_views[2].strides,
                                                   .o = o.raw(),
                                                   .o_strides = o_view.strides,
                                                   .d_o = d_o.raw(),
                                                   .d_o_strides = o_view.strides,
                                                   .lse = lse->data<float>(),
                                                   .dq = out_views[0].data,
                                                   .dk = out_views[1].data,
                                                   .dv = out_views[2].data,
                                                   .dq_strides = out_views[0].strides,
                                                   .dk_strides = out_views[1].strides,
                                                   .dv_strides = out_views[2].strides});
        for (std::size_t i = 0; i < gradients.size(); ++i) {
          in.add(static_cast<int>(i), gradients[i], rule.gradient(i, gradient.layout));
        }
      });
  return again ? made_again(result, kept) : result;
}

}  // namespace

Variable attention(const Variable& q, const Variable& k, const Variable& v, int64_t num_heads,
                   const AttentionMask& mask, bool again) {
  return attend({"attention", "bs!h,bt!h,bt!h->bsh"}, "attention", {q, k, v}, {{{0, 0, 1}, {1, 0, 1}, {2, 0, 1}}},
                num_heads, mask, again);
}

Variable self_attention(const Variable& qkv, int64_t num_heads, const AttentionMask& mask, bool again) {
  return attend({"self_attention", "bs!n!h->bsh"}, "self_attention", {qkv}, {{{0, 0, 3}, {0, 1, 3}, {0, 2, 3}}},
                num_heads, mask, again);
}

Variable cross_attention(const Variable& q, const Variable& kv, int64_t num_heads, const AttentionMask& mask,
                         bool again) {
  return attend({"cross_attention", "bs!h,bt!n!h->bsh"}, "cross_attention", {q, kv},
                {{{0, 0, 1}, {1, 0, 2}, {1, 1, 2}}}, num_heads, mask, again);
}

}  // namespace triptych::ops
