#include "autograd/all_reducer.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "autograd/whole_parameters.h"
#include "parallel/in_process_group.h"

namespace triptych::test {
namespace {

struct Case {
  int ranks;
  int64_t bucket_bytes;
};

class ReducerTest : public ::testing::TestWithParam<Case> {};

// From the second step on, ranks reach the parameters in different orders, as they may when work is scheduled
// otherwise. The group finds it out if one starts another bucket than the others. Parameter 2 is reached on no rank.
TEST_P(ReducerTest, SumsOverTheRanksInOneOrderOfBuckets) {
  const auto& [num_ranks, bucket_bytes] = GetParam();
  run_ranks(num_ranks, [&, bytes = bucket_bytes, n = num_ranks](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = n}, device);
    const Owned owned = make_parameters(device);
    AllReducer reducer(device, mesh, pointers(owned), bytes);
    for (int step = 0; step < 3; ++step) {
      constexpr int kMicrobatches = 2;
      reducer.begin_step();
      for (int m = 0; m < kMicrobatches; ++m) {
        for (int k = 0; k < kParameters; ++k) {
          const int i = world.rank() % 2 == 0 || step == 0 ? kParameters - 1 - k : (k * 3 + step) % kParameters;
          if (i == 2) continue;
          use(*owned[static_cast<std::size_t>(i)], on_mesh(kOverDp, mesh), world.rank(), i, m, [&] { reducer.poll(); });
        }
      }
      reducer.finish();
      for (int i = 0; i < kParameters; ++i) {
        const Tensor& gradient = owned[static_cast<std::size_t>(i)]->gradient.tensor();
        const std::vector<float> g = gradient.to_vector<float>();
        for (std::size_t e = 0; e < g.size(); ++e) {
          float expected = 0;
          for (int r = 0; r < n; ++r) {
            for (int m = 0; m < kMicrobatches && i != 2; ++m) expected += summand(r, i, m, e);
          }
          ASSERT_EQ(g[e], expected) << "p" << i << " element " << e << " in step " << step;
        }
        // What the optimizer would leave there must not reach the next step's sums.
        std::fill_n(gradient.data<float>(), g.size(), std::numeric_limits<float>::quiet_NaN());
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(RanksAndBuckets, ReducerTest,
                         ::testing::Values(Case{1, 64}, Case{2, 1}, Case{2, 80}, Case{3, 64}, Case{3, 1 << 20}),
                         [](const auto& param) {
                           return fmt::format("ranks{}_bytes{}", param.param.ranks, param.param.bucket_bytes);
                         });

// A bucket is reduced when the last of its parameters has been used, and not before.
TEST(ReducerBuckets, HoldNeighboursUpToTheirSize) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const Owned owned = make_parameters(device);
    AllReducer reducer(device, mesh, pointers(owned),
                       100);  // 25 elements: p6 (19), p5 (16), p4 + p3 (23), p2 + p1 + p0
    const auto use_one = [&](int i) {
      use(*owned[static_cast<std::size_t>(i)], kOverDp, world.rank(), i, 0, [&] { reducer.poll(); });
    };
    const auto first = [&](int i) { return first_of(*owned[static_cast<std::size_t>(i)]); };
    reducer.begin_step();
    for (int i = kParameters - 1; i >= 0; --i) use_one(i);
    reducer.finish();

    reducer.begin_step();
    for (const std::vector<int>& bucket : std::vector<std::vector<int>>{{6}, {5}, {4, 3}, {2, 1, 0}}) {
      for (const int i : bucket) {
        world.barrier();  // nobody is late with the bucket before
        for (int k = 0; k < 1000; ++k) reducer.poll();
        for (const int before : bucket) {
          if (before <= i) continue;
          EXPECT_EQ(first(before), summand(world.rank(), before, 0, 0)) << "before p" << i;
        }
        use_one(i);
      }
      world.barrier();
      for (const int i : bucket) {
        const float both = summand(0, i, 0, 0) + summand(1, i, 0, 0);
        for (int k = 0; k < 1000 && first(i) != both; ++k) reducer.poll();
        EXPECT_EQ(first(i), both) << "p" << i;
      }
    }
    reducer.finish();
  });
}

// A scalar first in a bucket, and sizes around the boundary: none moves another off it, and what lies between stays
// zero however often the bucket is summed.
TEST(ReducerBuckets, BeginEveryGradientAtAMultipleOf256Bytes) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const std::vector<int64_t> sizes{130, 65, 64, 63, 1};  // the last is the first in the bucket
    Owned owned;
    for (const int64_t size : sizes) {
      owned.push_back(make_parameter(device, "p" + std::to_string(owned.size()), Shape{size}));
    }
    AllReducer reducer(device, mesh, pointers(owned), 1 << 20);
    for (int step = 0; step < 3; ++step) {
      reducer.begin_step();
      for (int i = 4; i >= 0; --i) {
        use(*owned[static_cast<std::size_t>(i)], kOverDp, world.rank(), i, 0, [&] { reducer.poll(); });
      }
      reducer.finish();
      const float* const begin = owned[4]->gradient.tensor().data<float>();
      std::vector<int64_t> offsets;
      for (const auto& p : owned) offsets.push_back(p->gradient.tensor().data<float>() - begin);
      EXPECT_EQ(offsets, (std::vector<int64_t>{64 + 64 + 64 + 128, 64 + 64 + 64, 64 + 64, 64, 0}));
      std::vector<bool> is_gradient(64 + 64 + 64 + 128 + 192);
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        for (int64_t e = 0; e < sizes[i]; ++e) is_gradient[static_cast<std::size_t>(offsets[i] + e)] = true;
        EXPECT_EQ(first_of(*owned[i]), summand(0, static_cast<int>(i), 0, 0) + summand(1, static_cast<int>(i), 0, 0));
      }
      for (std::size_t e = 0; e < is_gradient.size(); ++e) {
        if (is_gradient[e]) continue;
        EXPECT_EQ(begin[e], 0.0f) << "element " << e << " of the bucket in step " << step;
      }
    }
  });
}

// Frozen ones in turn: what is trained is summed, in memory of its own; the rest has none until it is trained.
TEST(ReducerBuckets, LeaveOutWhatIsNotTrained) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const Owned owned = make_parameters(device);
    AllReducer reducer(device, mesh, pointers(owned), 100);
    const auto both = [&](int i) { return summand(0, i, 0, 0) + summand(1, i, 0, 0); };
    for (const int num_trained : {0, 3, 7}) {
      for (int i = 0; i < kParameters; ++i) owned[static_cast<std::size_t>(i)]->is_trained = i < num_trained;
      reducer.relearn();
      for (int step = 0; step < 3; ++step) {
        reducer.begin_step();
        for (int i = num_trained - 1; i >= 0; --i) {
          use(*owned[static_cast<std::size_t>(i)], kOverDp, world.rank(), i, 0, [&] { reducer.poll(); });
        }
        reducer.finish();
        for (int i = 0; i < kParameters; ++i) {
          const Parameter& p = *owned[static_cast<std::size_t>(i)];
          ASSERT_EQ(p.gradient.tensor().defined(), i < num_trained) << p.name;
          if (i < num_trained) {
            EXPECT_EQ(first_of(p), both(i)) << p.name << " in step " << step;
          }
        }
      }
    }
  });
}

// What the first step's uses are shows when its backward has ended. From then on a bucket starts as soon as its last
// summand has come, while backward goes on: that is what hides its time.
TEST(ReducerBuckets, AreReducedWhileBackwardGoesOnFromTheSecondStepOn) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const Owned owned = make_parameters(device);
    AllReducer reducer(device, mesh, pointers(owned), 1);  // each parameter is a bucket
    const auto use_one = [&](int i) {
      use(*owned[static_cast<std::size_t>(i)], kOverDp, world.rank(), i, 0, [&] { reducer.poll(); });
    };
    const auto mine = [&](int i) { return summand(world.rank(), i, 0, 0); };
    const auto both = [&](int i) { return summand(0, i, 0, 0) + summand(1, i, 0, 0); };

    reducer.begin_step();
    for (const int i : {6, 5, 4}) use_one(i);
    world.barrier();
    for (int i = 0; i < 1000; ++i) reducer.poll();
    for (const int i : {6, 5, 4}) EXPECT_EQ(first_of(*owned[static_cast<std::size_t>(i)]), mine(i));
    reducer.finish();
    for (const int i : {6, 5, 4}) EXPECT_EQ(first_of(*owned[static_cast<std::size_t>(i)]), both(i));

    reducer.begin_step();
    use_one(6);
    world.barrier();  // both have started it
    for (int i = 0; i < 1000 && first_of(*owned[6]) == mine(6); ++i) reducer.poll();
    EXPECT_EQ(first_of(*owned[6]), both(6));
    // p4 is complete but must wait for p5, whose bucket comes first.
    use_one(4);
    world.barrier();
    for (int i = 0; i < 1000; ++i) reducer.poll();
    EXPECT_EQ(first_of(*owned[4]), mine(4));
    use_one(5);
    world.barrier();
    for (int i = 0; i < 1000 && first_of(*owned[4]) == mine(4); ++i) reducer.poll();
    EXPECT_EQ(first_of(*owned[4]), both(4));
    reducer.finish();
    EXPECT_EQ(first_of(*owned[0]), 0.0f);
  });
}

// What the first step completes first starts first, wherever it stands among the parameters.
TEST(ReducerBuckets, StartInTheOrderInWhichTheFirstStepCompletedThem) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const Owned owned = make_parameters(device);
    AllReducer reducer(device, mesh, pointers(owned), 1);
    const auto use_one = [&](int i) {
      use(*owned[static_cast<std::size_t>(i)], kOverDp, world.rank(), i, 0, [&] { reducer.poll(); });
    };
    const std::vector<int> order{3, 0, 6, 1, 5, 2, 4};
    reducer.begin_step();
    use_one(4);  // its first use of two
    for (const int i : order) use_one(i);
    reducer.finish();
    reducer.begin_step();
    use_one(4);
    for (const int i : order) {
      use_one(i);
      world.barrier();
      const auto all = [&] { return (i == 4 ? 2 : 1) * (summand(0, i, 0, 0) + summand(1, i, 0, 0)); };
      for (int k = 0; k < 1000 && first_of(*owned[static_cast<std::size_t>(i)]) != all(); ++k) reducer.poll();
      EXPECT_EQ(first_of(*owned[static_cast<std::size_t>(i)]), all()) << "p" << i;
    }
    reducer.finish();
  });
}

// A bucket that takes gradients from everywhere, here those that need no sum, is complete late: the others do not wait
// for it.
TEST(ReducerBuckets, DoNotWaitForOnesThatAreCompleteLater) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const Owned owned = make_parameters(device);
    AllReducer reducer(device, mesh, pointers(owned), 1 << 20);
    const auto use_one = [&](int i) {
      use(*owned[static_cast<std::size_t>(i)], i == 6 || i == 0 ? Layout() : kOverDp, world.rank(), i, 0,
          [&] { reducer.poll(); });
    };
    reducer.begin_step();
    for (int i = kParameters - 1; i >= 0; --i) use_one(i);
    reducer.finish();
    reducer.begin_step();
    for (int i = kParameters - 1; i >= 1; --i) use_one(i);
    world.barrier();
    const float both = summand(0, 3, 0, 0) + summand(1, 3, 0, 0);
    for (int k = 0; k < 1000 && first_of(*owned[3]) != both; ++k) reducer.poll();
    EXPECT_EQ(first_of(*owned[3]), both);
    use_one(0);
    reducer.finish();
  });
}

// A parameter that two places of a model use: rank 1 has run both and reduces while rank 0 is between them.
TEST(ReducerBuckets, WaitForEveryUseOfAParameter) {
  run_ranks(2, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2}, device);
    const Owned owned = make_parameters(device);
    AllReducer reducer(device, mesh, pointers(owned), 1);
    const int last = kParameters - 1;
    Parameter& shared = *owned[static_cast<std::size_t>(last)];
    const auto use_it = [&](int which) { use(shared, kOverDp, world.rank(), last, which, [&] { reducer.poll(); }); };
    for (int step = 0; step < 3; ++step) {
      reducer.begin_step();
      if (world.rank() == 1) {
        use_it(0);
        use_it(1);
      }
      world.barrier();
      if (world.rank() == 0) {
        use_it(0);
        for (int i = 0; i < 1000; ++i) reducer.poll();
        EXPECT_EQ(first_of(shared), summand(0, last, 0, 0)) << "in step " << step;
        use_it(1);
      }
      reducer.finish();
      float expected = 0;
      for (const int rank : {0, 1}) {
        for (const int which : {0, 1}) expected += summand(rank, last, which, 0);
      }
      EXPECT_EQ(first_of(shared), expected) << "in step " << step;
    }
  });
}

TEST(ReducerGroups, EachGradientIsSummedOverTheAxesOnWhichItIsPartial) {
  run_ranks(8, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2, .cp = 2, .tp = 2}, device);
    const Owned owned = make_parameters(device);
    std::vector<Layout> layouts(kParameters, kOverDp);
    layouts[1] = kOverTp;
    layouts[2] = kOverDp.with(Axis::kTp, Placement::partial());
    layouts[3] = Layout();
    layouts[4] = kOverTp.with(Axis::kCp, Placement::partial());
    layouts[5] = kOverDp.with(Axis::kTp, Placement::shard(0));
    AllReducer reducer(device, mesh, pointers(owned), 1 << 20);
    const MeshCoordinate me = mesh.coordinate();
    for (int step = 0; step < 2; ++step) {
      reducer.begin_step();
      for (int i = kParameters - 1; i >= 0; --i) {
        const auto index = static_cast<std::size_t>(i);
        use(*owned[index], layouts[index], world.rank(), i, 0, [&] { reducer.poll(); });
      }
      reducer.finish();
      for (int i = 0; i < kParameters; ++i) {
        const Layout& layout = layouts[static_cast<std::size_t>(i)];
        float expected = 0;
        for (int r = 0; r < 8; ++r) {
          const MeshCoordinate other = mesh_coordinate(mesh.shape(), r);
          const bool summed = std::all_of(kAxes.begin(), kAxes.end(), [&](Axis axis) {
            return other.rank(axis) == me.rank(axis) || layout[axis].is_partial();
          });
          if (summed) expected += summand(r, i, 0, 0);
        }
        EXPECT_EQ(first_of(*owned[static_cast<std::size_t>(i)]), expected) << "p" << i << " in step " << step;
      }
    }
  });
}

}  // namespace
}  // namespace triptych::test
