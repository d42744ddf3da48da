#include <array>
#include <vector>

#include <benchmark/benchmark.h>

#include "kernels/attention.h"

namespace triptych::test {
namespace {

/// Self-attention on a packed qkv [B, S, 3, N, D] with N = 4 and D = 64, on one thread.
/// Arguments: backward, bfloat16, B, S, causal. The rate is in FLOP/s of the product without a mask.
void self_attention(benchmark::State& state) {
  const int64_t batch = state.range(2), tokens = state.range(3), heads = 4, dim = 64;
  const bool backward = state.range(0) != 0;
  const AttentionShape shape{.batch = batch,
                             .num_heads = heads,
                             .num_queries = tokens,
                             .num_keys = tokens,
                             .head_dim = dim,
                             .scale = 0.125f,
                             .causal = state.range(4) != 0,
                             .dtype = state.range(1) != 0 ? DType::kBFloat16 : DType::kFloat32};
  const std::size_t part = static_cast<std::size_t>(heads * dim) * dtype_bytes(shape.dtype);
  const std::size_t token_bytes = static_cast<std::size_t>(batch * tokens) * part;
  std::vector<std::byte> qkv(3 * token_bytes), d_qkv(3 * token_bytes), o(token_bytes), d_o(token_bytes);
  std::vector<float> lse(static_cast<std::size_t>(batch * heads * tokens));
  const AttentionStrides packed{tokens * 3 * heads * dim, 3 * heads * dim, dim};
  const AttentionStrides plain{tokens * heads * dim, heads * dim, dim};

  AttentionForward forward{.shape = shape, .q = qkv.data(), .k = qkv.data() + part, .v = qkv.data() + 2 * part};
  forward.q_strides = forward.k_strides = forward.v_strides = packed;
  forward.o = o.data();
  forward.o_strides = plain;
  forward.lse = lse.data();
  AttentionBackward gradient{.shape = shape, .q = forward.q, .k = forward.k, .v = forward.v};
  gradient.q_strides = gradient.k_strides = gradient.v_strides = packed;
  gradient.o = o.data();
  gradient.d_o = d_o.data();
  gradient.o_strides = gradient.d_o_strides = plain;
  gradient.lse = lse.data();
  gradient.dq = d_qkv.data();
  gradient.dk = d_qkv.data() + part;
  gradient.dv = d_qkv.data() + 2 * part;
  gradient.dq_strides = gradient.dk_strides = gradient.dv_strides = packed;

  Stream stream(1);
  attention_forward(stream, forward);
  for (auto _ : state) {
    if (backward) {
      attention_backward(stream, gradient);
    } else {
      attention_forward(stream, forward);
    }
  }
  state.counters["flops"] =
      benchmark::Counter((backward ? 10.0 : 4.0) * static_cast<double>(batch * heads * tokens * tokens * dim),
                         benchmark::Counter::kIsIterationInvariantRate);
}

void attention_sizes(benchmark::internal::Benchmark* made) {
  made->ArgNames({"backward", "bf16", "batch", "tokens", "causal"});
  for (int64_t backward : {0, 1}) {
    for (int64_t bfloat16 : {0, 1}) {
      for (const auto& [batch, tokens, causal] :
           {std::array<int64_t, 3>{64, 65, 0}, {64, 32, 1}, {2, 65, 0}, {4, 577, 0}}) {
        made->Args({backward, bfloat16, batch, tokens, causal});
      }
    }
  }
}
BENCHMARK(self_attention)->Apply(attention_sizes)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace triptych::test
