#include "parallel/mesh.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "parallel/in_process_group.h"

namespace triptych {
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
    EXPECT_EQ(members(mesh.dp_tp()), (std::vector<int>{stage, stage + 1, stage + 2, stage + 3}));
    for (const Axis axis : {Axis::kDp, Axis::kCp, Axis::kTp}) {
      EXPECT_EQ(mesh.group(axis).rank(), mesh.rank(axis));
      EXPECT_EQ(mesh.group(axis).size(), mesh.size(axis));
    }
    EXPECT_EQ(mesh.pp().rank(), at.pp);
    EXPECT_EQ(mesh.group(Axis::kTp).name(), fmt::format("tp[pp={},dp={}]", at.pp, at.dp));
    EXPECT_EQ(mesh.group(Axis::kDp).name(), fmt::format("dp[pp={},tp={}]", at.pp, at.tp));
    EXPECT_EQ(mesh.pp().name(), fmt::format("pp[dp={},tp={}]", at.dp, at.tp));
    EXPECT_EQ(mesh.dp_tp().name(), fmt::format("dp_tp[pp={}]", at.pp));
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
    EXPECT_EQ(mesh.dp_tp().size(), 6);
  });
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

}  // namespace
}  // namespace triptych
