#include "nn/transformer_block.h"

#include "block_reference.h"

namespace triptych::test {
namespace {

constexpr std::size_t kWidth = 4, kHeads = 2, kInner = 6;

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
      const TransformerBlockConfig config = config_of(causal, has_memory);
      check_module(block_setup(config), [&](const Wholes& values) { return BlockReference(values, config).run(); });
    }
  }
}

// Dropout is a function of the global element: meshes drop what one rank drops.
TEST(TransformerBlockTest, DropsOutTheSameOnEveryMesh) {
  TransformerBlockConfig config = config_of(false, true);
  config.dropout = 0.3f;
  const ModuleSetup setup = block_setup(config);
  Wholes whole, kept;
  run_module(setup, {}, [&](const Wholes& values, const auto&) { whole = values; });
  run_module(block_setup(config_of(false, true)), {}, [&](const Wholes& values, const auto&) { kept = values; });
  EXPECT_NE(whole.at("y"), kept.at("y")) << "nothing was dropped";
  for (const ParallelRun& run : kParallelRuns) {
    SCOPED_TRACE(run.to_string());
    run_module(setup, run, [&](const Wholes& actual, const auto&) { expect_close(actual, whole, run.dtype); });
  }
}

// Nobody declares how gradients come out: where ranks see pieces of the stream, norms and biases get summands there.
TEST(TransformerBlockTest, GradientsComeOutAsTheStreamIsLaidOut) {
  const Layout dp = Layout().with(Axis::kDp, Placement::partial()).with(Axis::kCp, Placement::partial());
  for (const bool sequence_parallel : {false, true}) {
    const Layout of_stream = sequence_parallel ? dp.with(Axis::kTp, Placement::partial()) : dp;
    run_module(block_setup(config_of(false, true)), {{.dp = 2, .cp = 2, .tp = 2}, sequence_parallel},
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
  for (const Recompute recompute : kRecomputes) {
    for (const bool is_apart : {false, true}) {
      ParameterStore store(rank.device, rank.mesh, plan, 3, DType::kFloat32);
      const TransformerBlock block(store, "block", config);
      const Pass pass{.device = rank.device,
                      .mesh = rank.mesh,
                      .plan = plan,
                      .recompute = recompute,
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
          const bool waits =
              p->global_shape.rank() > 1 || p->name.ends_with(".q.bias") || p->name.ends_with(".in.bias");
          EXPECT_EQ(p->gradient.empty(), waits) << p->name;
        }
        EXPECT_EQ(work.size(), 7u);
      }
      run_apart(std::move(work), {});
      results.push_back({y.tensor().to_vector<float>()});
      for (const Variable& v : {input, memory}) results.back().push_back(v.gradient()->tensor.to_vector<float>());
      for (const Parameter* p : store.all()) results.back().push_back(p->gradient.tensor().to_vector<float>());
    }
  }
  for (std::size_t i = 1; i < results.size(); ++i) EXPECT_EQ(results[0], results[i]) << i;
  // Three norms and two attentions of 2 * 5 rows of 12 floats, in multiples of 64 bytes, and log-sum-exps of 3 heads.
  EXPECT_EQ(kept[0] - kept[2], 5u * 512 + 2 * 128)
      << "selective recomputation keeps neither norms nor attention's core";
  EXPECT_LT(kept[4] * 4, kept[0]) << "recomputation keeps the block's inputs and output alone";
}

}  // namespace
}  // namespace triptych::test
