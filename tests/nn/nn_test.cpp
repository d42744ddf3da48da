#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "nn/parameter_store.h"
#include "nn/transformer_block.h"
#include "parallel/in_process_group.h"
#include "support/gradient_check.h"

namespace triptych {
namespace {

using namespace test;

const Layout kByRows = Layout().with(Axis::kTp, Placement::shard(0));
const Layout kByColumns = Layout().with(Axis::kTp, Placement::shard(1));

void make_parameters(ParameterStore& store) {
  store.create("rows", Shape{7, 5}, {.standard_deviation = 0.5f, .layout = kByRows});
  store.create("columns", Shape{5, 7}, {.mean = 2, .standard_deviation = 0.5f, .layout = kByColumns});
  store.create("heads", Shape{3, 8, 5}, {.standard_deviation = 0.5f, .layout = kByColumns});
  store.create("bias", Shape{3, 5}, {.standard_deviation = 0.5f, .layout = kByColumns});
  store.create("whole", Shape{9}, {.standard_deviation = 1});
  store.create("ones", Shape{9}, {.mean = 1});
}

// Element i of a parameter is element i of the stream of its name: Philox's own definition, in double.
double expected_value(const std::string& name, int64_t i, float mean, float deviation) {
  return mean + deviation * philox_normal(random_key(17, "init/" + name, 0), static_cast<uint64_t>(i));
}

TEST(ParameterStoreTest, InitialValuesAreAFunctionOfTheGlobalElement) {
  for (const MeshShape& shape : {MeshShape{}, MeshShape{.tp = 2}, MeshShape{.tp = 3}, MeshShape{.dp = 2, .tp = 2}}) {
    run_ranks(shape.dp * shape.tp, [&](Group& world) {
      Device device(1);
      Mesh mesh(world, shape, device);
      ParameterStore store(device, mesh, 17, DType::kFloat32);
      make_parameters(store);
      for (const Parameter* p : store.all()) {
        Shape begin;
        const Shape local = local_shape(p->global_shape, p->layout, mesh, &begin);
        ASSERT_EQ(p->value.shape(), local) << p->name;
        const float mean = p->name == "columns" ? 2.0f : p->name == "ones" ? 1.0f : 0.0f;
        const float deviation = p->name == "ones" ? 0.0f : p->name == "whole" ? 1.0f : 0.5f;
        const std::vector<float> values = p->value.to_vector<float>();
        for (int64_t i = 0; i < local.num_elements(); ++i) {
          int64_t global = 0, rest = i;
          std::vector<int64_t> index(static_cast<std::size_t>(local.rank()));
          for (int dim = local.rank() - 1; dim >= 0; --dim) {
            index[static_cast<std::size_t>(dim)] = rest % local[dim];
            rest /= local[dim];
          }
          for (int dim = 0; dim < local.rank(); ++dim) {
            global = global * p->global_shape[dim] + begin[dim] + index[static_cast<std::size_t>(dim)];
          }
          const double expected = expected_value(p->name, global, mean, deviation);
          ASSERT_NEAR(values[static_cast<std::size_t>(i)], expected, 1e-6 * (1 + std::abs(expected)))
              << p->name << " element " << global << " on " << world.rank() << "/" << world.size();
        }
      }
    });
  }
}

// Beyond the tolerance above: the very same bits on every mesh.
TEST(ParameterStoreTest, PiecesOfAMeshHaveTheBitsOfTheWhole) {
  OneRank alone;
  ParameterStore whole(alone.device, alone.mesh, 17, DType::kFloat32);
  make_parameters(whole);
  run_ranks(3, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, {.tp = 3}, device);
    ParameterStore store(device, mesh, 17, DType::kFloat32);
    make_parameters(store);
    for (std::size_t i = 0; i < store.all().size(); ++i) {
      const Parameter& p = *store.all()[i];
      Shape begin;
      const Shape local = local_shape(p.global_shape, p.layout, mesh, &begin);
      Tensor piece = whole.all()[i]->value;
      for (int dim = 0; dim < local.rank(); ++dim) piece = piece.slice(dim, begin[dim], local[dim]);
      EXPECT_EQ(p.value.to_vector<float>(), piece.to_vector<float>()) << p.name;
    }
  });
}

TEST(ParameterStoreTest, SeedAndNameTell) {
  OneRank rank;
  std::map<std::vector<float>, std::string> seen;
  for (const uint64_t seed : {1, 2}) {
    ParameterStore store(rank.device, rank.mesh, seed, DType::kFloat32);
    for (const char* name : {"a", "b"}) {
      const Parameter& p = store.create(name, Shape{5}, {.standard_deviation = 1});
      EXPECT_TRUE(seen.emplace(p.value.to_vector<float>(), name).second);
    }
  }
}

TEST(ParameterStoreTest, GradientLayoutsSayWhatIsSummed) {
  run_ranks(4, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2, .tp = 2}, device);
    ParameterStore store(device, mesh, 1, DType::kFloat32);
    const Layout dp = Layout().with(Axis::kDp, Placement::partial());
    EXPECT_EQ(store.create("matrix", Shape{4, 4}, {.layout = kByRows}).gradient_layout,
              dp.with(Axis::kTp, Placement::shard(0)));
    EXPECT_EQ(store.create("norm", Shape{4}, {}).gradient_layout, dp);
    EXPECT_EQ(store.create("shared", Shape{4}, {.sees_sequence_shard = true}).gradient_layout,
              dp.with(Axis::kTp, Placement::partial()));
  });
}

TEST(ParameterStoreTest, ComputeCopiesFollowTheMastersWhenRefreshed) {
  OneRank rank;
  ParameterStore store(rank.device, rank.mesh, 1, DType::kBFloat16);
  Parameter& matrix = store.create("matrix", Shape{3, 3}, {.standard_deviation = 1, .in_compute_dtype = true});
  Parameter& norm = store.create("norm", Shape{3}, {.mean = 1});
  EXPECT_EQ(norm.compute.raw(), norm.value.raw());
  matrix.value.data<float>()[4] = -3.0f;
  store.refresh_compute_copies();
  EXPECT_EQ(static_cast<float>(matrix.compute.to_vector<BFloat16>()[4]), -3.0f);
}

// The products of a block, one by one: 2 m n k FLOPs each.
TEST(TransformerBlockTest, FlopsAreThoseOfItsProducts) {
  const int64_t sequence = 5, width = 6, heads = 2, inner = 10, dim = width / heads;
  const auto product = [](int64_t m, int64_t n, int64_t k) { return 2.0 * static_cast<double>(m * n * k); };
  double expected = product(sequence, 3 * width, width);  // queries, keys, values
  for (int64_t n = 0; n < heads; ++n) {
    expected += product(sequence, sequence, dim);  // scores
    expected += product(sequence, dim, sequence);  // weighted values
  }
  expected += product(sequence, width, width);                                    // out
  expected += product(sequence, inner, width) + product(sequence, width, inner);  // feed-forward
  EXPECT_DOUBLE_EQ(
      TransformerBlock::forward_flops({.width = width, .num_heads = heads, .feed_forward = inner}, sequence), expected);
}

TEST(TransformerBlockTest, RecomputationGivesTheSameBits) {
  OneRank rank;
  const TransformerBlockConfig config{.width = 12, .num_heads = 3, .feed_forward = 20, .dropout = 0.2f};
  const std::vector<float> x = random_values("x", 2 * 5 * 12), dy = random_values("dy", 2 * 5 * 12);
  const std::vector<int32_t> lengths{5, 3};
  std::vector<std::vector<std::vector<float>>> results;
  std::vector<std::size_t> kept;
  for (const bool again : {false, true}) {
    ParameterStore store(rank.device, rank.mesh, 3, DType::kFloat32);
    const TransformerBlock block(store, "block", config, false);
    for (Parameter* p : store.all()) p->gradient = Tensor::zeros(rank.device, DType::kFloat32, p->value.shape());
    Pass pass{.device = rank.device, .mesh = rank.mesh, .recompute = again, .seed = 9, .step = 4, .first_sample = 2};
    const Shape shape{2, 5, 12};
    const Variable input = Variable::leaf(Tensor::from<float>(rank.device, shape, x), shape, pass.whole());
    const std::size_t before = rank.device.memory().used_bytes;
    const Variable y = block.forward(input, Tensor::from<int32_t>(rank.device, Shape{2}, lengths), pass);
    kept.push_back(rank.device.memory().used_bytes - before);
    const Gradient seed{Tensor::from<float>(rank.device, shape, dy), y.layout()};
    backward(std::span(&y, 1), std::span(&seed, 1), {});
    results.push_back({y.tensor().to_vector<float>(), input.gradient()->tensor.to_vector<float>()});
    for (const Parameter* p : store.all()) results.back().push_back(p->gradient.to_vector<float>());
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_LT(kept[1] * 4, kept[0]) << "recomputation keeps the block's input and output alone";
}

}  // namespace
}  // namespace triptych
