#include "nn/transformer_block.h"

#include <cmath>

#include "module_check.h"

namespace triptych::test {
namespace {

using Rows = std::vector<double>;

constexpr std::size_t kBatch = 2, kSequence = 3, kMemory = 5, kWidth = 4, kMemoryWidth = 3, kHeads = 2, kInner = 6;
const std::vector<int32_t> kLengths{3, 2}, kMemoryLengths{4, 5};

// ---- The block in double precision, as its papers write it.

Rows normalized(const Rows& x, const Wholes& values, const std::string& name) {
  Rows y(x.size());
  for (std::size_t r = 0; r < x.size(); r += kWidth) {
    double mean = 0, variance = 0;
    for (std::size_t c = 0; c < kWidth; ++c) mean += x[r + c] / kWidth;
    for (std::size_t c = 0; c < kWidth; ++c) variance += std::pow(x[r + c] - mean, 2) / kWidth;
    for (std::size_t c = 0; c < kWidth; ++c) {
      y[r + c] = (x[r + c] - mean) / std::sqrt(variance + 1e-5) * values.at(name + ".weight")[c] +
                 values.at(name + ".bias")[c];
    }
  }
  return y;
}

// x W^T + b with rows [begin, begin + outputs) of the weight.
Rows product(const Rows& x, std::size_t inputs, const Wholes& values, const std::string& name, std::size_t outputs,
             std::size_t begin = 0) {
  const Rows &weight = values.at(name + ".weight"), &bias = values.at(name + ".bias");
  Rows y;
  for (std::size_t r = 0; r < x.size() / inputs; ++r) {
    for (std::size_t o = begin; o < begin + outputs; ++o) {
      double sum = bias[o];
      for (std::size_t i = 0; i < inputs; ++i) sum += x[r * inputs + i] * weight[o * inputs + i];
      y.push_back(sum);
    }
  }
  return y;
}

Rows attended(const Rows& q, const Rows& k, const Rows& v, std::size_t num_keys, bool causal,
              const std::vector<int32_t>& lengths) {
  constexpr std::size_t kDim = kWidth / kHeads;
  Rows o(q.size(), 0);
  for (std::size_t b = 0; b < kBatch; ++b) {
    for (std::size_t n = 0; n < kHeads; ++n) {
      for (std::size_t i = 0; i < kSequence; ++i) {
        const std::size_t at = (b * kSequence + i) * kWidth + n * kDim;
        const auto key_at = [&](std::size_t j) { return (b * num_keys + j) * kWidth + n * kDim; };
        Rows p;
        double sum = 0;
        for (std::size_t j = 0; j < static_cast<std::size_t>(lengths[b]) && (!causal || j <= i); ++j) {
          double dot = 0;
          for (std::size_t d = 0; d < kDim; ++d) dot += q[at + d] * k[key_at(j) + d];
          p.push_back(std::exp(dot / std::sqrt(static_cast<double>(kDim))));
          sum += p.back();
        }
        for (std::size_t j = 0; j < p.size(); ++j) {
          for (std::size_t d = 0; d < kDim; ++d) o[at + d] += p[j] / sum * v[key_at(j) + d];
        }
      }
    }
  }
  return o;
}

Rows reference(const Wholes& values, bool causal, bool has_memory) {
  Rows x = values.at("x");
  const auto add = [&](const Rows& branch) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += branch[i];
  };
  const auto projected = [&](const Rows& of, std::size_t inputs, const std::string& name, std::size_t which) {
    return product(of, inputs, values, "block." + name, kWidth, which * kWidth);
  };
  const Rows n = normalized(x, values, "block.attention.norm");
  const auto qkv = [&](std::size_t which) { return projected(n, kWidth, "attention.qkv", which); };
  add(projected(attended(qkv(0), qkv(1), qkv(2), kSequence, causal, kLengths), kWidth, "attention.out", 0));
  if (has_memory) {
    const Rows q = projected(normalized(x, values, "block.cross_attention.norm"), kWidth, "cross_attention.q", 0);
    const auto kv = [&](std::size_t which) {
      return projected(values.at("memory"), kMemoryWidth, "cross_attention.kv", which);
    };
    add(projected(attended(q, kv(0), kv(1), kMemory, false, kMemoryLengths), kWidth, "cross_attention.out", 0));
  }
  Rows h = product(normalized(x, values, "block.feed_forward.norm"), kWidth, values, "block.feed_forward.in", kInner);
  for (double& a : h) a *= 0.5 * std::erfc(-a / std::sqrt(2.0));
  add(product(h, kInner, values, "block.feed_forward.out", kWidth));
  return x;
}

ModuleSetup setup_of(const TransformerBlockConfig& config) {
  const bool has_memory = config.memory_width > 0;
  ModuleSetup setup;
  setup.batch = kBatch;
  setup.inputs = {{"x", Shape{kBatch, kSequence, kWidth}, "stream"}};
  if (has_memory) setup.inputs.push_back({"memory", Shape{kBatch, kMemory, kMemoryWidth}, "stream"});
  setup.make = [config, has_memory](ParameterStore& store) -> Module {
    return [block = TransformerBlock(store, "block", config), has_memory](std::span<const Variable> inputs,
                                                                          const Pass& pass, const Range& rows) {
      const auto of_rows = [&](const std::vector<int32_t>& lengths) {
        return Tensor::from<int32_t>(
            pass.device, Shape{rows.length},
            std::span(lengths).subspan(static_cast<std::size_t>(rows.begin), static_cast<std::size_t>(rows.length)));
      };
      return block.forward(inputs[0], has_memory ? inputs[1] : Variable(),
                           {.own = of_rows(kLengths), .memory = has_memory ? of_rows(kMemoryLengths) : Tensor()}, pass);
    };
  };
  return setup;
}

TransformerBlockConfig config_of(bool causal, bool has_memory) {
  return {.width = kWidth,
          .num_heads = kHeads,
          .feed_forward = kInner,
          .causal = causal,
          .memory_width = has_memory ? static_cast<int64_t>(kMemoryWidth) : 0};
}

TEST(TransformerBlockTest, EqualsDoubleAndItsCentralDifferencesOnEveryMesh) {
  for (const bool has_memory : {false, true}) {
    for (const bool causal : {false, true}) {
      SCOPED_TRACE(fmt::format("causal {}, cross-attention {}", causal, has_memory));
      check_module(setup_of(config_of(causal, has_memory)),
                   [&](const Wholes& values) { return reference(values, causal, has_memory); });
    }
  }
}

// Dropout is a function of the global element: meshes drop what one rank drops.
TEST(TransformerBlockTest, DropsOutTheSameOnEveryMesh) {
  TransformerBlockConfig config = config_of(false, true);
  config.dropout = 0.3f;
  const ModuleSetup setup = setup_of(config);
  Wholes whole, kept;
  run_module(setup, {}, [&](const Wholes& values, const auto&) { whole = values; });
  run_module(setup_of(config_of(false, true)), {}, [&](const Wholes& values, const auto&) { kept = values; });
  EXPECT_NE(whole.at("y"), kept.at("y")) << "nothing was dropped";
  for (const ParallelRun& run : kParallelRuns) {
    SCOPED_TRACE(run.to_string());
    run_module(setup, run, [&](const Wholes& actual, const auto&) { expect_close(actual, whole, run.dtype); });
  }
}

// Nobody declares how gradients come out: where ranks see pieces of the stream, norms and biases get summands there.
TEST(TransformerBlockTest, GradientsComeOutAsTheStreamIsLaidOut) {
  const Layout dp = Layout().with(Axis::kDp, Placement::partial());
  for (const bool sequence_parallel : {false, true}) {
    const Layout of_stream = sequence_parallel ? dp.with(Axis::kTp, Placement::partial()) : dp;
    run_module(setup_of(config_of(false, true)), {{.dp = 2, .tp = 2}, sequence_parallel},
               [&](const Wholes&, const std::vector<Parameter*>& parameters) {
                 for (const Parameter* p : parameters) {
                   const Layout expected = p->layout == Layout() ? of_stream : dp.with(Axis::kTp, p->layout[Axis::kTp]);
                   EXPECT_EQ(p->gradient.layout(), expected)
                       << p->name << " comes out " << p->gradient.layout().to_string();
                 }
               });
  }
}

// The products of a block, one by one: 2 m n k FLOPs each.
TEST(TransformerBlockTest, FlopsAreThoseOfItsProducts) {
  const int64_t sequence = 5, width = 6, heads = 2, inner = 10, dim = width / heads, memory = 7, memory_width = 8;
  const auto flops = [](int64_t m, int64_t n, int64_t k) { return 2.0 * static_cast<double>(m * n * k); };
  double expected = flops(sequence, 3 * width, width);  // queries, keys, values
  for (int64_t n = 0; n < heads; ++n) {
    expected += flops(sequence, sequence, dim);  // scores
    expected += flops(sequence, dim, sequence);  // weighted values
  }
  expected += flops(sequence, width, width);                                  // out
  expected += flops(sequence, inner, width) + flops(sequence, width, inner);  // feed-forward
  TransformerBlockConfig config{.width = width, .num_heads = heads, .feed_forward = inner};
  EXPECT_DOUBLE_EQ(TransformerBlock::forward_flops(config, sequence), expected);
  config.memory_width = memory_width;
  expected += 2 * flops(sequence, width, width) + flops(memory, 2 * width, memory_width);  // queries, out; keys, values
  for (int64_t n = 0; n < heads; ++n) expected += flops(sequence, memory, dim) + flops(sequence, dim, memory);
  EXPECT_DOUBLE_EQ(TransformerBlock::forward_flops(config, sequence, memory), expected);
}

TEST(TransformerBlockTest, RecomputationAndBackwardInHalvesGiveTheSameBits) {
  OneRank rank;
  const Plan plan = tensor_parallel_plan();
  const TransformerBlockConfig config{
      .width = 12, .num_heads = 3, .feed_forward = 20, .memory_width = 6, .dropout = 0.2f};
  const Shape shape{2, 5, 12}, memory_shape{2, 3, 6};
  const std::vector<float> x = random_values("x", shape.num_elements()), dy = random_values("dy", shape.num_elements());
  const std::vector<float> m = random_values("memory", memory_shape.num_elements());
  const std::vector<int32_t> lengths{5, 3};
  std::vector<std::vector<std::vector<float>>> results;
  std::vector<std::size_t> kept;
  for (const auto& [again, is_apart] : {std::pair{false, false}, {true, false}, {false, true}, {true, true}}) {
    ParameterStore store(rank.device, rank.mesh, plan, 3, DType::kFloat32);
    const TransformerBlock block(store, "block", config);
    const Pass pass{.device = rank.device,
                    .mesh = rank.mesh,
                    .plan = plan,
                    .recompute = again,
                    .seed = 9,
                    .step = 4,
                    .first_sample = 2};
    const Variable input = Variable::leaf(Tensor::from<float>(rank.device, shape, x), shape, Layout());
    const Variable memory = Variable::leaf(Tensor::from<float>(rank.device, memory_shape, m), memory_shape, Layout());
    const std::size_t before = rank.device.memory().used_bytes;
    const Variable y =
        block.forward(input, memory, {.own = Tensor::from<int32_t>(rank.device, Shape{2}, lengths)}, pass);
    kept.push_back(rank.device.memory().used_bytes - before);
    const Gradient seed{Tensor::from<float>(rank.device, shape, dy), y.layout()};
    WorkApart work;
    backward(std::span(&y, 1), std::span(&seed, 1), {.apart = is_apart ? &work : nullptr});
    if (is_apart) {
      for (const Parameter* p : store.all()) {
        // Those of products wait; norms, and the biases that residual connections add, do not.
        const bool waits = p->global_shape.rank() > 1 || p->name.ends_with(".q.bias") || p->name.ends_with(".in.bias");
        EXPECT_EQ(p->gradient.empty(), waits) << p->name;
      }
      EXPECT_EQ(work.size(), 7u);
    }
    run_apart(std::move(work), {});
    results.push_back({y.tensor().to_vector<float>()});
    for (const Variable& v : {input, memory}) results.back().push_back(v.gradient()->tensor.to_vector<float>());
    for (const Parameter* p : store.all()) results.back().push_back(p->gradient.tensor().to_vector<float>());
  }
  for (std::size_t i = 1; i < results.size(); ++i) EXPECT_EQ(results[0], results[i]) << i;
  EXPECT_LT(kept[1] * 4, kept[0]) << "recomputation keeps the block's inputs and output alone";
}

}  // namespace
}  // namespace triptych::test
