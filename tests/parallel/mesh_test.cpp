#include "parallel/mesh.h"

#include <numeric>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "parallel/in_process_group.h"

namespace triptych::test {
namespace {

std::string refusal(const MeshShape& shape, int num_ranks) {
  try {
    check_mesh_shape(shape, num_ranks);
  } catch (const UserError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(MeshShape, MustHaveAsManyRanksAsThereAre) {
  EXPECT_EQ(refusal({.pp = 2, .dp = 2, .tp = 2}, 8), "accepted");
  EXPECT_EQ(refusal({.pp = 1, .dp = 1, .cp = 3, .tp = 2}, 6), "accepted");
  EXPECT_EQ(
      refusal({.pp = 2, .dp = 2, .tp = 3}, 8),
      "[mesh] pp*dp*tp must equal the number of ranks: 2*2*3 = 12, found 8. Set parallel.tp = 2 or start 12 ranks.");
  EXPECT_EQ(refusal({.pp = 2, .tp = 2}, 1),
            "[mesh] pp*dp*tp must equal the number of ranks: 2*1*2 = 4, found 1. Start 4 ranks.");
  EXPECT_EQ(refusal({.pp = 2, .cp = 2}, 2),
            "[mesh] pp*dp*cp*tp must equal the number of ranks: 2*1*2*1 = 4, found 2. Set parallel.pp = 1 or start 4 "
            "ranks.");
  EXPECT_EQ(
      refusal({.pp = 32767, .dp = 32767, .cp = 32767, .tp = 32767}, 2),
      "[mesh] pp*dp*cp*tp must equal the number of ranks: 32767*32767*32767*32767 = 1152780773560811521, found 2. "
      "Start 1152780773560811521 ranks.");
  EXPECT_EQ(refusal({.dp = 0}, 1), "[mesh] parallel.dp must be between 1 and 32767, found 0. Set parallel.dp = 1");
  EXPECT_EQ(refusal({.tp = -4}, 1), "[mesh] parallel.tp must be between 1 and 32767, found -4. Set parallel.tp = 1");
}

TEST(MeshCoordinate, CountsTpFastestAndPpSlowest) {
  const MeshShape shape{.pp = 2, .dp = 3, .cp = 2, .tp = 5};
  int rank = 0;
  for (int pp = 0; pp < 2; ++pp) {
    for (int dp = 0; dp < 3; ++dp) {
      for (int cp = 0; cp < 2; ++cp) {
        for (int tp = 0; tp < 5; ++tp, ++rank) {
          const MeshCoordinate at{.pp = pp, .dp = dp, .cp = cp, .tp = tp};
          EXPECT_EQ(mesh_coordinate(shape, rank), at);
          EXPECT_EQ(mesh_world_rank(shape, at), rank);
        }
      }
    }
  }
}

// The world ranks of a group, by rank.
std::vector<int> members(const Group& group) {
  std::vector<int> result;
  for (int r = 0; r < group.size(); ++r) result.push_back(group.world_rank(r));
  return result;
}

TEST(Mesh, GroupsTheRanksOfEachAxis) {
  const MeshShape shape{.pp = 2, .dp = 2, .tp = 2};
  run_ranks(8, [&](Group& world) {
    Device device(1);
    const Mesh mesh(world, shape, device);
    const MeshCoordinate at = mesh.coordinate();
    const int base = world.rank();
    EXPECT_EQ(at, (MeshCoordinate{.pp = base / 4, .dp = base / 2 % 2, .cp = 0, .tp = base % 2}));
    EXPECT_EQ(members(mesh.group(Axis::kTp)), (std::vector<int>{base - at.tp, base - at.tp + 1}));
    EXPECT_EQ(members(mesh.group(Axis::kDp)), (std::vector<int>{base - 2 * at.dp, base - 2 * at.dp + 2}));
    EXPECT_EQ(members(mesh.group(Axis::kCp)), (std::vector<int>{base}));
    EXPECT_EQ(members(mesh.pp()), (std::vector<int>{base % 4, base % 4 + 4}));
    const int stage = 4 * at.pp;
    EXPECT_EQ(members(mesh.group({Axis::kDp, Axis::kTp})), (std::vector<int>{stage, stage + 1, stage + 2, stage + 3}));
    for (const Axis axis : {Axis::kDp, Axis::kCp, Axis::kTp}) {
      EXPECT_EQ(mesh.group(axis).rank(), mesh.rank(axis));
      EXPECT_EQ(mesh.group(axis).size(), mesh.size(axis));
    }
    EXPECT_EQ(mesh.pp().rank(), at.pp);
    EXPECT_EQ(mesh.group(Axis::kTp).name(), fmt::format("tp[pp={},dp={}]", at.pp, at.dp));
    EXPECT_EQ(mesh.group(Axis::kDp).name(), fmt::format("dp[pp={},tp={}]", at.pp, at.tp));
    EXPECT_EQ(mesh.pp().name(), fmt::format("pp[dp={},tp={}]", at.dp, at.tp));
    EXPECT_EQ(mesh.group({Axis::kDp, Axis::kTp}).name(), fmt::format("dp+tp[pp={}]", at.pp));
    int64_t sum = base;
    mesh.group(Axis::kDp).all_reduce(&sum, 1, DType::kInt64, ReduceOp::kSum)->wait();
    EXPECT_EQ(sum, 2 * (base - 2 * at.dp) + 2);
  });
}

TEST(Mesh, HasContextParallelRanks) {
  run_ranks(6, [](Group& world) {
    Device device(1);
    const Mesh mesh(world, {.pp = 1, .dp = 1, .cp = 3, .tp = 2}, device);
    const int tp = world.rank() % 2;
    EXPECT_EQ(members(mesh.group(Axis::kCp)), (std::vector<int>{tp, tp + 2, tp + 4}));
    EXPECT_EQ(mesh.group(Axis::kTp).name(), fmt::format("tp[pp=0,dp=0,cp={}]", world.rank() / 2));
    const int cp = 2 * (world.rank() / 2);
    EXPECT_EQ(members(mesh.group(Axis::kTp)), (std::vector<int>{cp, cp + 1}));
    EXPECT_EQ(mesh.group({Axis::kCp, Axis::kTp}).size(), 6);
  });
}

// A world that counts the groups that are split off it.
class CountingGroup : public Group {
 public:
  explicit CountingGroup(Group& world) : Group(identity_of(world)), world_(world) {}

  int num_splits = 0;
  std::unique_ptr<Group> split(int color, int key, std::string name) override {
    ++num_splits;
    return world_.split(color, key, std::move(name));
  }
  std::string_view transport() const override { return world_.transport(); }
  std::chrono::milliseconds timeout() const override { return world_.timeout(); }
  void progress() override { world_.progress(); }
  [[noreturn]] void abort(int) override { throw WorldError("test", "aborted"); }

 protected:
  std::shared_ptr<Pending> start(const Operation& operation) override {
    TRIPTYCH_CHECK(false, "{} on the world", operation.to_string());
    return nullptr;
  }

 private:
  static GroupIdentity identity_of(const Group& world) {
    return {.name = world.name(), .rank = world.rank(), .world_ranks = members(world)};
  }
  Group& world_;
};

TEST(Mesh, MakesAGroupOnceForTheSameRanks) {
  const struct {
    MeshShape shape;
    int num_splits;
  } cases[] = {
      {{}, 0},                                    // this rank alone
      {{.dp = 3}, 1},                             // dp, dp+tp, the stage and all ranks are one
      {{.pp = 3}, 1},                             // pp and all ranks
      {{.dp = 2, .tp = 2}, 3},                    // dp, tp, both
      {{.pp = 2, .tp = 2}, 3},                    // tp, pp, all ranks
      {{.pp = 2, .dp = 2, .tp = 2}, 5},           // dp, tp, both, pp, all ranks
      {{.dp = 2, .cp = 2, .tp = 2}, 7},           // every set but the empty one
      {{.pp = 2, .dp = 2, .cp = 2, .tp = 2}, 9},  // and pp, and all ranks
  };
  for (const auto& [shape, num_splits] : cases) {
    run_ranks(shape.pp * shape.dp * shape.cp * shape.tp, [&](Group& world) {
      Device device(1);
      CountingGroup counting(world);
      const Mesh mesh(counting, shape, device);
      EXPECT_EQ(counting.num_splits, num_splits) << shape.pp << shape.dp << shape.cp << shape.tp;
      const MeshCoordinate at = mesh.coordinate();
      // The ranks that should be in the group of every set, found by looking at all ranks' coordinates.
      for (std::size_t index = 0; index < 8; ++index) {
        const AxisSet axes = AxisSet::of_index(index);
        std::vector<int> same;
        for (int rank = 0; rank < world.size(); ++rank) {
          const MeshCoordinate other = mesh_coordinate(shape, rank);
          bool is_in = other.pp == at.pp;
          for (const Axis axis : kAxes) is_in = is_in && (axes.contains(axis) || other.rank(axis) == at.rank(axis));
          if (is_in) same.push_back(rank);
        }
        EXPECT_EQ(members(mesh.group(axes)), same) << axes.to_string();
        int64_t sum = world.rank();
        mesh.group(axes).all_reduce(&sum, 1, DType::kInt64, ReduceOp::kSum)->wait();
        EXPECT_EQ(sum, std::accumulate(same.begin(), same.end(), int64_t{0})) << axes.to_string();
      }
      EXPECT_EQ(mesh.all_ranks().size(), world.size());
      EXPECT_EQ(mesh.pp().size(), shape.pp);
      const AxisSet all{Axis::kDp, Axis::kCp, Axis::kTp};
      EXPECT_EQ(&mesh.all_ranks() == &mesh.group(all), shape.pp == 1);
      EXPECT_EQ(&mesh.group({Axis::kDp, Axis::kTp}) == &mesh.group(Axis::kDp), shape.tp == 1);
    });
  }
}

TEST(AxisSet, HasEachAxisOnceInOrder) {
  const AxisSet axes{Axis::kTp, Axis::kDp, Axis::kTp};
  std::vector<Axis> found;
  for (const Axis axis : axes) found.push_back(axis);
  EXPECT_EQ(found, (std::vector<Axis>{Axis::kDp, Axis::kTp}));
  EXPECT_EQ(axes.to_string(), "dp+tp");
  EXPECT_TRUE(axes.contains(Axis::kTp));
  EXPECT_FALSE(axes.contains(Axis::kCp));
  EXPECT_EQ(axes, AxisSet(Axis::kDp).with(Axis::kTp));
  EXPECT_NE(axes, AxisSet(Axis::kDp));
  EXPECT_TRUE(AxisSet().empty());
  EXPECT_EQ(AxisSet().begin(), AxisSet().end());
}

TEST(Mesh, OfOneRankNeedsNoOther) {
  const std::unique_ptr<Group> world = make_self_group("world");
  Device device(1);
  const Mesh mesh(*world, {}, device);
  double value = 3;
  mesh.group(Axis::kTp).all_reduce(&value, 1, DType::kFloat64, ReduceOp::kSum)->wait();
  EXPECT_EQ(value, 3);
  EXPECT_THROW(Mesh(*world, {.tp = 2}, device), UserError);
}

TEST(Mesh, ATraceSeesWhatGroupsDoWhileItIsOn) {
  run_ranks(2, [&](Group& world) {
    Device device(1);
    Trace trace;
    Mesh mesh(world, {.tp = 2}, device);
    mesh.set_trace(&trace);
    float value = 1;
    const auto sum = [&] { mesh.group(Axis::kTp).all_reduce(&value, 1, DType::kFloat32, ReduceOp::kSum)->wait(); };
    sum();
    EXPECT_TRUE(trace.spans().empty());
    trace.start();
    sum();
    trace.stop();
    sum();
    EXPECT_EQ(value, 8);
    ASSERT_EQ(trace.spans().size(), 3u);
    const Trace::Span &start = trace.spans()[0], &operation = trace.spans()[1], &wait = trace.spans()[2];
    EXPECT_EQ(start.track, Trace::Track::kWork);
    EXPECT_EQ(start.kind, "start");
    EXPECT_EQ(start.name, "tp[pp=0,dp=0]: all_reduce(sum, float32 x 1)");
    EXPECT_LE(start.end_ns, wait.begin_ns);
    EXPECT_EQ(operation.track, Trace::Track::kInFlight);
    EXPECT_EQ(operation.kind, "tp[pp=0,dp=0]");
    EXPECT_EQ(operation.name, "all_reduce(sum, float32 x 1)");
    EXPECT_EQ(operation.details, "4 bytes, number 1");
    EXPECT_EQ(wait.track, Trace::Track::kWork);
    EXPECT_EQ(wait.kind, "wait");
    EXPECT_EQ(wait.name, "tp[pp=0,dp=0]: all_reduce(sum, float32 x 1)");
    EXPECT_LE(operation.begin_ns, wait.begin_ns);
    EXPECT_LE(operation.end_ns, wait.end_ns);
    EXPECT_LE(wait.begin_ns, operation.end_ns);
  });
}

}  // namespace
}  // namespace triptych::test
