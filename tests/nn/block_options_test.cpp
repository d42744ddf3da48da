#include <functional>

#include "block_reference.h"
#include "nn/decoding.h"

namespace triptych::test {
namespace {

// What a config chooses of a block, each against double precision on every mesh, and some of them together.

TransformerBlockConfig plain(bool has_memory = false) {
  return {.width = 8,
          .num_heads = 4,
          .feed_forward = 6,
          .causal = true,
          .memory_width = has_memory ? static_cast<int64_t>(kMemoryWidth) : 0};
}

struct Option {
  const char* name;
  std::function<void(TransformerBlockConfig&)> set;
};

void make_rotary(TransformerBlockConfig& config) {
  config.rotary = {.grid = {.sequence = static_cast<int64_t>(kSequence)}, .base = 100};
}

const std::vector<Option> kOptions{
    {"gelu by tanh", [](auto& c) { c.activation = Activation::kGeluTanh; }},
    {"quick gelu", [](auto& c) { c.activation = Activation::kGeluQuick; }},
    {"swiglu", [](auto& c) { c.activation = Activation::kSwiglu; }},
    {"rms norm",
     [](auto& c) {
       c.norm = {NormKind::kRms, 1e-3f};
     }},
    {"layer norm of another epsilon", [](auto& c) { c.norm.epsilon = 0.1f; }},
    {"post-norm", [](auto& c) { c.post_norm = true; }},
    {"grouped queries", [](auto& c) { c.kv_heads = 2; }},
    {"rotary positions", make_rotary},
    {"as Llama's",
     [](auto& c) {
       c.activation = Activation::kSwiglu;
       c.norm = {NormKind::kRms, 1e-6f};
       c.kv_heads = 2;
       make_rotary(c);
     }},
    {"as BERT's",
     [](auto& c) {
       c.causal = false;
       c.post_norm = true;
       c.norm.epsilon = 1e-12f;
     }},
};

TEST(BlockOptions, EachEqualsDoubleAndItsCentralDifferencesOnEveryMesh) {
  for (const Option& option : kOptions) {
    SCOPED_TRACE(option.name);
    TransformerBlockConfig config = plain();
    option.set(config);
    const Rows usual_y = [&] {
      Rows y;
      run_module(block_setup(plain()), {}, [&](const Wholes& values, const auto&) { y = values.at("y"); });
      return y;
    }();
    run_module(block_setup(config), {}, [&](const Wholes& values, const auto&) {
      EXPECT_NE(values.at("y"), usual_y) << "the option does nothing";
    });
    check_module(block_setup(config), [&](const Wholes& values) { return BlockReference(values, config).run(); });
  }
}

TEST(BlockOptions, HoldForBlocksThatAttendAcross) {
  for (const bool post_norm : {false, true}) {
    TransformerBlockConfig config = plain(true);
    config.post_norm = post_norm;
    config.norm = {NormKind::kRms, 1e-3f};
    config.kv_heads = 2;
    check_module(block_setup(config), [&](const Wholes& values) { return BlockReference(values, config).run(); },
                 {{{}}, {{}, false, Recompute::kFull}, {{}, false, Recompute::kSelective}, {{.dp = 2}}});
  }
}

// Alayrac et al. 2022: cross-attention and a feed-forward layer, each behind a gate; or all three parts.
TEST(BlockOptions, GatesMultiplyWhatEachPartAdds) {
  for (const bool self_attention : {false, true}) {
    TransformerBlockConfig config = plain(true);
    config.self_attention = self_attention;
    config.initial_gate = 0;
    check_module(block_setup(config), [&](const Wholes& values) { return BlockReference(values, config).run(); });
  }
}

TEST(BlockOptions, ABlockWithGatesPassesItsInputOnAtFirst) {
  OneRank rank;
  const Plan plan = tensor_parallel_plan();
  TransformerBlockConfig config = plain(true);
  config.self_attention = false;
  config.initial_gate = 0;
  ParameterStore store(rank.device, rank.mesh, plan, 3, DType::kFloat32);
  const TransformerBlock block(store, "block", config);
  for (const Parameter* p : store.all()) {
    if (p->name.ends_with(".gate")) {
      EXPECT_EQ(p->value.item<float>(), 0) << p->name;
    }
  }
  EXPECT_TRUE(store.named("block.attention.").empty());
  EXPECT_EQ(store.named("block.cross_attention.gate").size(), 1u);
  EXPECT_EQ(store.named("block.feed_forward.gate").size(), 1u);
  const Shape shape{2, 3, 8}, memory{2, kMemory, kMemoryWidth};
  const Tensor x = Tensor::from<float>(rank.device, shape, random_values("x", shape.num_elements()));
  const Tensor m = Tensor::from<float>(rank.device, memory, random_values("m", memory.num_elements()));
  const Pass pass{.device = rank.device, .mesh = rank.mesh, .plan = plan, .record = false};
  const Variable y =
      block.forward(Variable::constant(x, shape, Layout()), Variable::constant(m, memory, Layout()), {}, pass);
  EXPECT_EQ(y.tensor().to_vector<float>(), x.to_vector<float>());
}

// A sample's branches are dropped by (seed, step, global sample, part): alike on every mesh, and as Huang et al. 2016
// scale what stays.
TEST(BlockOptions, StochasticDepthDropsWholeBranchesOfASample) {
  for (const bool post_norm : {false, true}) {
    TransformerBlockConfig config = plain(true);
    config.post_norm = post_norm;
    config.drop_path = 0.4f;
    int num_dropped = 0;
    const auto factors = [&](const std::string& part, std::size_t sample) {
      const RandomKey key = random_key(9, "block." + part + ".drop_path", 4);  // run_module's seed and step
      const bool dropped = philox_uniform(key, sample) < config.drop_path;
      num_dropped += dropped;
      return dropped ? 0.0 : 1 / (1 - static_cast<double>(config.drop_path));
    };
    check_module(block_setup(config),
                 [&](const Wholes& values) { return BlockReference(values, config, factors).run(); });
    EXPECT_GT(num_dropped, 0) << "no branch was dropped: another seed would show more";
  }
}

TEST(BlockOptions, NothingIsDroppedOutsideOfTraining) {
  OneRank rank;
  const Plan plan = tensor_parallel_plan();
  TransformerBlockConfig config = plain();
  const Shape shape{2, 3, 8};
  const Tensor x = Tensor::from<float>(rank.device, shape, random_values("x", shape.num_elements()));
  std::vector<std::vector<float>> results;
  for (const float drop_path : {0.0f, 0.9f}) {
    config.drop_path = drop_path;
    ParameterStore store(rank.device, rank.mesh, plan, 3, DType::kFloat32);
    const TransformerBlock block(store, "block", config);
    const Pass pass{.device = rank.device, .mesh = rank.mesh, .plan = plan, .record = false, .training = false};
    results.push_back(
        block.forward(Variable::constant(x, shape, Layout()), Variable(), {}, pass).tensor().to_vector<float>());
  }
  EXPECT_EQ(results[0], results[1]);
}

// Token by token with a cache, which keeps the fewer heads of grouped queries, as all at once.
TEST(BlockOptions, DecodingGivesWhatTheWholeSequenceGives) {
  for (const bool is_grouped : {false, true}) {
    run_ranks(2, [&](Group& world) {
      Device device(1);
      Mesh mesh(world, {.tp = 2}, device);
      const Plan plan = tensor_parallel_plan();
      TransformerBlockConfig config = plain();
      config.norm.kind = NormKind::kRms;
      config.kv_heads = is_grouped ? 2 : 0;
      make_rotary(config);
      ParameterStore store(device, mesh, plan, 3, DType::kFloat32);
      const TransformerBlock block(store, "block", config);
      const Shape shape{2, kSequence, 8};
      const Tensor x = Tensor::from<float>(device, shape, random_values("x", shape.num_elements()));
      Pass pass{.device = device, .mesh = mesh, .plan = plan, .record = false, .training = false};
      const Tensor whole = block.forward(Variable::constant(x, shape, Layout()), Variable(), {}, pass).tensor();
      DecodingCache cache(kSequence);
      pass.cache = &cache;
      for (int64_t s = 0; s < static_cast<int64_t>(kSequence); ++s) {
        const Tensor token = x.slice(1, s, 1).contiguous();
        const Variable y = block.forward(Variable::constant(token, token.shape(), Layout()), Variable(), {}, pass);
        EXPECT_LT(relative_error(y.tensor().to_vector<float>(), whole.slice(1, s, 1).to_vector<float>()),
                  tolerance(DType::kFloat32).summed)
            << "token " << s;
        cache.advance();
      }
    });
  }
}

// Products of 2 m n k FLOPs each: Llama's block has three in its feed-forward layer, and narrow keys and values.
TEST(BlockOptions, FlopsAreThoseOfItsProducts) {
  TransformerBlockConfig config{.width = 12, .num_heads = 6, .feed_forward = 10, .kv_heads = 2};
  config.activation = Activation::kSwiglu;
  const auto flops = [](int64_t m, int64_t n, int64_t k) { return 2.0 * static_cast<double>(m * n * k); };
  double expected = flops(5, 12, 12) + 2 * flops(5, 4, 12) + flops(5, 12, 12);  // queries; keys and values; out
  for (int n = 0; n < 6; ++n) expected += flops(5, 5, 2) + flops(5, 2, 5);
  expected += 2 * flops(5, 10, 12) + flops(5, 12, 10);
  EXPECT_DOUBLE_EQ(TransformerBlock::forward_flops(config, 5), expected);
}

}  // namespace
}  // namespace triptych::test
