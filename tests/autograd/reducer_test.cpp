#include "autograd/reducer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/variable.h"
#include "parallel/in_process_group.h"

namespace triptych {
namespace {

constexpr int kParameters = 7;

// A rank's parameters p0 .. p6 of 1, 4, 7, ... elements, Partial as `layout` says.
std::vector<std::unique_ptr<Parameter>> make_parameters(Device& device, const Mesh& mesh, const Layout& layout) {
  std::vector<std::unique_ptr<Parameter>> parameters;
  for (int i = 0; i < kParameters; ++i) {
    auto p = std::make_unique<Parameter>();
    p->name = "p" + std::to_string(i);
    p->global_shape = Shape{1 + 3 * i};
    p->gradient_layout = on_mesh(layout, mesh);
    p->value = p->compute = Tensor::zeros(device, DType::kFloat32, p->global_shape);
    parameters.push_back(std::move(p));
  }
  return parameters;
}

std::vector<Parameter*> pointers(const std::vector<std::unique_ptr<Parameter>>& parameters) {
  std::vector<Parameter*> result;
  for (const auto& p : parameters) result.push_back(p.get());
  return result;
}

// What `rank` adds to element `element` of parameter `i` for a microbatch: whole numbers, whose sums are exact.
float summand(int rank, int i, int microbatch, std::size_t element) {
  return static_cast<float>((rank + 1) * 1000 + i * 100 + microbatch * 10 + static_cast<int>(element % 10));
}

// The backward of an operation that uses the parameter.
void use(Device& device, Parameter& parameter, int rank, int i, int microbatch, const std::function<void()>& poll) {
  const Variable w = Variable::of(parameter, true);
  const Variable y = record("use", {w}, Tensor::zeros(device, DType::kFloat32, Shape{1}), Shape{1}, Layout(),
                            [&](const Gradient&, InputGradients& inputs) {
                              const Tensor g = inputs.parameter(0, parameter.gradient_layout);
                              float* out = g.data<float>();
                              for (std::size_t e = 0; e < static_cast<std::size_t>(g.num_elements()); ++e) {
                                out[e] += summand(rank, i, microbatch, e);
                              }
                            });
  const Gradient seed{Tensor::zeros(device, DType::kFloat32, Shape{1}), Layout()};
  backward(std::span(&y, 1), std::span(&seed, 1), poll);
}

struct Case {
  int ranks;
  int64_t bucket_bytes;
};

class ReducerTest : public ::testing::TestWithParam<Case> {};

// Ranks reach the parameters in different orders, as they may when work is scheduled otherwise. The group finds it out
// if one starts another bucket than the others. Parameter 2 is reached on no rank, parameter 4 on rank 0 alone.
TEST_P(ReducerTest, SumsOverTheRanksInOneOrderOfBuckets) {
  const auto& [num_ranks, bucket_bytes] = GetParam();
  run_ranks(num_ranks, [&, bytes = bucket_bytes, n = num_ranks](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = n}, device);
    const auto owned = make_parameters(device, mesh, Layout().with(Axis::kDp, Placement::partial()));
    Reducer reducer(device, mesh, pointers(owned), bytes);
    for (int step = 0; step < 3; ++step) {
      constexpr int kMicrobatches = 2;
      reducer.begin_step(kMicrobatches);
      for (int m = 0; m < kMicrobatches; ++m) {
        for (int k = 0; k < kParameters; ++k) {
          const int i = world.rank() % 2 == 0 ? kParameters - 1 - k : (k * 3 + step) % kParameters;
          if (i == 2 || (i == 4 && world.rank() != 0)) continue;
          use(device, *owned[static_cast<std::size_t>(i)], world.rank(), i, m, [&] { reducer.poll(); });
        }
      }
      reducer.finish();
      for (int i = 0; i < kParameters; ++i) {
        const std::vector<float> g = owned[static_cast<std::size_t>(i)]->gradient.to_vector<float>();
        for (std::size_t e = 0; e < g.size(); ++e) {
          float expected = 0;
          for (int r = 0; r < n; ++r) {
            if (i == 2 || (i == 4 && r != 0)) continue;
            for (int m = 0; m < kMicrobatches; ++m) expected += summand(r, i, m, e);
          }
          ASSERT_EQ(g[e], expected) << "p" << i << " element " << e << " in step " << step;
        }
        // What the optimizer would leave there must not reach the next step's sums.
        std::fill_n(owned[static_cast<std::size_t>(i)]->gradient.data<float>(), g.size(),
                    std::numeric_limits<float>::quiet_NaN());
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(RanksAndBuckets, ReducerTest,
                         ::testing::Values(Case{1, 64}, Case{2, 1}, Case{2, 80}, Case{3, 64}, Case{3, 1 << 20}),
                         [](const auto& param) {
                           return fmt::format("ranks{}_bytes{}", param.param.ranks, param.param.bucket_bytes);
                         });

TEST(ReducerBuckets, HoldNeighboursUpToTheirSize) {
  Device device(1);
  const std::unique_ptr<Group> world = make_self_group("test");
  Mesh mesh(*world, {}, device);
  const auto owned = make_parameters(device, mesh, Layout());
  Reducer reducer(device, mesh, pointers(owned), 100);  // 25 elements: p6 (19), p5 (16), p4 + p3 (23), p2 + p1 + p0
  const auto address = [&](std::size_t i) { return owned[i]->gradient.data<float>(); };
  EXPECT_EQ(address(3), address(4) + 13);
  EXPECT_EQ(address(1), address(2) + 7);
  EXPECT_EQ(address(0), address(1) + 4);
  EXPECT_NE(address(5), address(6) + 19);
}

// A bucket starts as soon as its last summand has come, while backward goes on: that is what hides its time.
TEST(ReducerBuckets, AreReducedWhileBackwardGoesOn) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const auto owned = make_parameters(device, mesh, Layout().with(Axis::kDp, Placement::partial()));
    Reducer reducer(device, mesh, pointers(owned), 1);  // each parameter is a bucket
    reducer.begin_step(1);
    const auto poll = [&] { reducer.poll(); };
    use(device, *owned[6], world.rank(), 6, 0, poll);
    const float mine = summand(world.rank(), 6, 0, 0), both = summand(0, 6, 0, 0) + summand(1, 6, 0, 0);
    world.barrier();  // both have started it
    for (int i = 0; i < 1000 && owned[6]->gradient.data<float>()[0] == mine; ++i) reducer.poll();
    EXPECT_EQ(owned[6]->gradient.data<float>()[0], both);
    // p4 is complete but must wait for p5, whose bucket comes first.
    use(device, *owned[4], world.rank(), 4, 0, poll);
    world.barrier();
    for (int i = 0; i < 1000; ++i) reducer.poll();
    EXPECT_EQ(owned[4]->gradient.data<float>()[0], summand(world.rank(), 4, 0, 0));
    reducer.finish();
    EXPECT_EQ(owned[4]->gradient.data<float>()[0], summand(0, 4, 0, 0) + summand(1, 4, 0, 0));
    EXPECT_EQ(owned[0]->gradient.data<float>()[0], 0.0f);
  });
}

TEST(ReducerGroups, EachGradientIsSummedOverTheAxesOnWhichItIsPartial) {
  run_ranks(8, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2, .cp = 2, .tp = 2}, device);
    const Layout dp = Layout().with(Axis::kDp, Placement::partial()),
                 tp = Layout().with(Axis::kTp, Placement::partial());
    auto owned = make_parameters(device, mesh, dp);
    owned[1]->gradient_layout = tp;
    owned[2]->gradient_layout = dp.with(Axis::kTp, Placement::partial());
    owned[3]->gradient_layout = Layout();
    owned[4]->gradient_layout = tp.with(Axis::kCp, Placement::partial());
    owned[5]->gradient_layout = dp.with(Axis::kTp, Placement::shard(0));
    Reducer reducer(device, mesh, pointers(owned), 1 << 20);
    reducer.begin_step(1);
    for (int i = kParameters - 1; i >= 0; --i) {
      use(device, *owned[static_cast<std::size_t>(i)], world.rank(), i, 0, [&] { reducer.poll(); });
    }
    reducer.finish();
    const MeshCoordinate me = mesh.coordinate();
    for (int i = 0; i < kParameters; ++i) {
      const Layout& layout = owned[static_cast<std::size_t>(i)]->gradient_layout;
      float expected = 0;
      for (int r = 0; r < 8; ++r) {
        const MeshCoordinate other = mesh_coordinate(mesh.shape(), r);
        bool summed = true;
        for (const Axis axis : kAxes) {
          summed = summed && (other.rank(axis) == me.rank(axis) || layout[axis].is_partial());
        }
        if (summed) expected += summand(r, i, 0, 0);
      }
      EXPECT_EQ(owned[static_cast<std::size_t>(i)]->gradient.data<float>()[0], expected) << "p" << i;
    }
  });
}

TEST(ReducerSteps, AreCompletedBeforeTheNextBegins) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const auto owned = make_parameters(device, mesh, Layout().with(Axis::kDp, Placement::partial()));
    Reducer reducer(device, mesh, pointers(owned), 1);
    reducer.begin_step(1);
    use(device, *owned[6], world.rank(), 6, 0, [&] { reducer.poll(); });
    EXPECT_THROW(reducer.begin_step(1), InternalError);
    reducer.finish();
    reducer.begin_step(1);
    reducer.finish();
  });
}

}  // namespace
}  // namespace triptych
