#include "nn/parameter_store.h"

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "nn/embeddings.h"
#include "nn/transformer_block.h"
#include "parallel/in_process_group.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

constexpr PlanRow kRows[] = {
    {"rows", on_tp(0)},
    {"columns", on_tp(1)},
    {"whole", kWhole},
};
const Plan kPlan({kRows});

void make_parameters(ParameterStore& store) {
  store.create("rows", Shape{7, 5}, "rows", {.standard_deviation = 0.5f});
  store.create("columns", Shape{5, 7}, "columns", {.mean = 2, .standard_deviation = 0.5f});
  store.create("heads", Shape{3, 8, 5}, "columns", {.standard_deviation = 0.5f});
  store.create("bias", Shape{3, 5}, "columns", {.standard_deviation = 0.5f});
  store.create("whole", Shape{9}, "whole", {.standard_deviation = 1});
  store.create("ones", Shape{9}, "whole", {.mean = 1});
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
      ParameterStore store(device, mesh, kPlan, 17, DType::kFloat32);
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

// Beyond the tolerance above: the very same bits on every mesh, also where ranks of dp have a piece of a piece.
TEST(ParameterStoreTest, PiecesOfAMeshHaveTheBitsOfTheWhole) {
  OneRank alone;
  ParameterStore whole(alone.device, alone.mesh, kPlan, 17, DType::kFloat32);
  make_parameters(whole);
  for (const MeshShape& shape : {MeshShape{.tp = 3}, MeshShape{.dp = 2, .tp = 2}, MeshShape{.dp = 4}}) {
    for (const bool shards_state : {false, true}) {
      run_ranks(shape.dp * shape.tp, [&](Group& world) {
        Device device(1);
        Mesh mesh(world, shape, device);
        ParameterStore store(device, mesh, kPlan, 17, DType::kFloat32, {}, InitialValues::kAsSpecified, shards_state);
        make_parameters(store);
        int num_doubly_sharded = 0;
        for (std::size_t i = 0; i < store.all().size(); ++i) {
          const Parameter& p = *store.all()[i];
          EXPECT_EQ(p.is_sharded(), shards_state && shape.dp > 1) << p.name;
          Shape begin;
          const Shape local = local_shape(p.global_shape, p.kept, mesh, &begin);
          Tensor piece = whole.all()[i]->value;
          int num_sharded = 0;
          for (int dim = 0; dim < local.rank(); ++dim) {
            piece = piece.slice(dim, begin[dim], local[dim]);
            num_sharded += local[dim] < p.global_shape[dim] ? 1 : 0;
          }
          num_doubly_sharded += num_sharded > 1 ? 1 : 0;
          EXPECT_EQ(p.value.to_vector<float>(), piece.to_vector<float>()) << p.name;
        }
        EXPECT_EQ(num_doubly_sharded > 0, shards_state && shape.dp == 2 && shape.tp == 2);
      });
    }
  }
}

TEST(ParameterStoreTest, AShardedParameterIsReadWhole) {
  OneRank alone;
  ParameterStore whole(alone.device, alone.mesh, kPlan, 17, DType::kBFloat16);
  make_parameters(whole);
  for (const bool is_freed : {false, true}) {
    run_ranks(4, [&](Group& world) {
      Device device(1);
      Mesh mesh(world, {.dp = 4}, device);
      ParameterStore store(device, mesh, kPlan, 17, DType::kBFloat16, {}, InitialValues::kAsSpecified, true);
      make_parameters(store);
      store.create("rounded", Shape{6, 9}, "whole", {.standard_deviation = 1, .in_compute_dtype = true});
      const std::vector<Parameter*> all = store.all();
      EXPECT_THROW(static_cast<void>(all[0]->compute.raw()), InternalError);  // nobody has said how it is gathered
      // One parameter is in both.
      const std::vector<std::vector<Parameter*>> units{{all.begin(), all.begin() + 3}, {all.begin() + 2, all.end()}};
      store.gather_in(units, is_freed);
      for (int round = 0; round < 2; ++round) {
        for (std::size_t i = 0; i < whole.all().size(); ++i) {
          std::vector<float> expected = whole.all()[i]->value.to_vector<float>();
          for (float& x : expected) x += static_cast<float>(round);
          EXPECT_EQ(all[i]->compute.to_vector<float>(), expected) << all[i]->name;
        }
        EXPECT_EQ(all.back()->compute.dtype(), DType::kBFloat16);
        EXPECT_EQ(all.back()->compute.to_vector<BFloat16>().size(), 54u);
        for (Parameter* p : all) {
          for (int64_t e = 0; e < p->value.num_elements(); ++e) p->value.data<float>()[e] += 1;
        }
        store.refresh_compute_copies();
      }
    });
  }
}

TEST(ParameterStoreTest, SeedAndNameTell) {
  OneRank rank;
  std::map<std::vector<float>, std::string> seen;
  for (const uint64_t seed : {1, 2}) {
    ParameterStore store(rank.device, rank.mesh, kPlan, seed, DType::kFloat32);
    for (const char* name : {"a", "b"}) {
      const Parameter& p = store.create(name, Shape{5}, "whole", {.standard_deviation = 1});
      EXPECT_TRUE(seen.emplace(p.value.to_vector<float>(), name).second);
    }
  }
}

TEST(ParameterStoreTest, ATiedParameterIsMadeOnce) {
  OneRank rank;
  ParameterStore store(rank.device, rank.mesh, kPlan, 1, DType::kFloat32);
  Parameter& first = store.create("tied", Shape{5}, "whole", {.standard_deviation = 1, .is_tied = true});
  store.create("other", Shape{5}, "whole", {});
  EXPECT_EQ(&store.create("tied", Shape{5}, "whole", {.standard_deviation = 1, .is_tied = true}), &first);
  EXPECT_EQ(store.all().size(), 2u);
  EXPECT_TRUE(first.is_tied);
  EXPECT_THROW(store.create("tied", Shape{5}, "whole", {}), InternalError);
  EXPECT_THROW(store.create("tied", Shape{6}, "whole", {.is_tied = true}), InternalError);
  EXPECT_THROW(store.create("other", Shape{5}, "whole", {.is_tied = true}), InternalError);
}

TEST(ParameterStoreTest, ABlockIsToldWhatItWasGivenTiedOnesToo) {
  OneRank rank;
  ParameterStore store(rank.device, rank.mesh, kPlan, 1, DType::kFloat32);
  Parameter* tied = &store.create("tied", Shape{5}, "whole", {.is_tied = true});
  Parameter* own = &store.create("own", Shape{5}, "whole", {});
  EXPECT_EQ(store.take_given(), (std::vector<Parameter*>{tied, own}));
  EXPECT_TRUE(store.take_given().empty());
  store.create("tied", Shape{5}, "whole", {.is_tied = true});
  EXPECT_EQ(store.take_given(), std::vector<Parameter*>{tied});
}

TEST(ParameterStoreTest, ComputeCopiesFollowTheMastersWhenRefreshed) {
  OneRank rank;
  ParameterStore store(rank.device, rank.mesh, kPlan, 1, DType::kBFloat16);
  Parameter& matrix = store.create("matrix", Shape{3, 3}, "whole", {.standard_deviation = 1, .in_compute_dtype = true});
  Parameter& norm = store.create("norm", Shape{3}, "whole", {.mean = 1});
  EXPECT_EQ(norm.compute.raw(), norm.value.raw());
  matrix.value.data<float>()[4] = -3.0f;
  store.refresh_compute_copies();
  EXPECT_EQ(static_cast<float>(matrix.compute.to_vector<BFloat16>()[4]), -3.0f);
}

TEST(PlanTest, LaterTablesTakeThePlaceOfEarlierRows) {
  constexpr PlanRow kOther[] = {{"columns", on_tp(2, kBatch)}, {"new", kBatch}};
  const Plan plan({kRows, kOther});
  EXPECT_EQ(plan("rows"), Layout().with(Axis::kTp, Placement::shard(0)));
  EXPECT_EQ(plan("columns"), Layout().with(Axis::kDp, Placement::shard(0)).with(Axis::kTp, Placement::shard(2)));
  EXPECT_EQ(plan("new"), Layout().with(Axis::kDp, Placement::shard(0)));
  try {
    plan("colums");
    FAIL() << "no table has it";
  } catch (const InternalError& error) {
    EXPECT_NE(std::string(error.what()).find("colums"), std::string::npos) << error.what();
  }
}

// Korthikanti et al. 2022: sequence parallelism changes what lies between blocks, and nothing within.
TEST(PlanTest, SequenceParallelismMovesTheStreamAlone) {
  const Plan tensor = tensor_parallel_plan(), sequence = sequence_parallel_plan();
  const Layout batch = Layout().with(Axis::kDp, Placement::shard(0));
  const Layout tokens = batch.with(Axis::kCp, Placement::shard(1));
  EXPECT_EQ(tensor("stream"), tokens);
  EXPECT_EQ(sequence("stream"), tokens.with(Axis::kTp, Placement::shard(1, 1)));
  EXPECT_EQ(tensor("positions"), Layout().with(Axis::kCp, Placement::shard(0)));
  EXPECT_EQ(sequence("positions"), tensor("positions").with(Axis::kTp, Placement::shard(0, 1)));
  for (const Plan* plan : {&tensor, &sequence}) {
    EXPECT_EQ((*plan)("batch"), batch);
    EXPECT_EQ((*plan)("tokens"), tokens);
    EXPECT_EQ((*plan)("replicated"), Layout());
    EXPECT_EQ((*plan)("logits"), tokens.with(Axis::kTp, Placement::shard(2)));
  }
  for (const PlanRow& row : kTransformerBlockPlan) EXPECT_EQ(tensor(row.name), sequence(row.name)) << row.name;
}

// Who decodes has whole sequences on every rank of cp, and of tp what tensor parallelism gives it.
TEST(PlanTest, AWholeSequencePlanUsesNoContextParallelism) {
  const Plan whole = whole_sequence_plan(), tensor = tensor_parallel_plan();
  for (const std::string_view name : {"stream", "tokens", "batch", "positions", "logits"}) {
    EXPECT_EQ(whole(name), tensor(name).with(Axis::kCp, Placement::replicate())) << name;
  }
}

}  // namespace
}  // namespace triptych::test
