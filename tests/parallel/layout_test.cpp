#include "parallel/layout.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "parallel/in_process_group.h"
#include "parallel/redistribute_plan.h"
#include "support/layout_cases.h"

namespace triptych::test {
namespace {

Layout on_axes(Placement dp, Placement cp, Placement tp) {
  return Layout().with(Axis::kDp, dp).with(Axis::kCp, cp).with(Axis::kTp, tp);
}

const Placement kReplicate = Placement::replicate();

TEST(Layout, NamesTheLevelsThatAreNotTheOutermost) {
  EXPECT_EQ(on_axes(Placement::shard(1), kReplicate, Placement::shard(1, 1)).to_string(),
            "dp: Shard(1), tp: Shard(1, level 1)");
  EXPECT_NE(Placement::shard(1), Placement::shard(1, 1));
  EXPECT_TRUE(Placement::shard(1, 1).is_shard(1));
}

TEST(Layout, KnowsTheAxesThatArePartial) {
  EXPECT_EQ(on_axes(Placement::partial(), Placement::shard(0), Placement::partial()).partial_axes(),
            (AxisSet{Axis::kDp, Axis::kTp}));
  EXPECT_TRUE(on_axes(Placement::shard(0), kReplicate, kReplicate).partial_axes().empty());
}

// All combinations of levels from -1 to 3 on one dim, against a sorted list of them.
TEST(Layout, LevelsOfADimMustBeEachOnce) {
  std::vector<Placement> placements{kReplicate, Placement::shard(1)};
  for (int level = -1; level <= 3; ++level) placements.push_back(Placement::shard(0, level));
  for (const Placement dp : placements) {
    for (const Placement cp : placements) {
      for (const Placement tp : placements) {
        const Layout layout = on_axes(dp, cp, tp);
        if (has_valid_levels(layout)) {
          EXPECT_NO_THROW(check_levels(layout)) << layout.to_string();
        } else {
          EXPECT_THROW(check_levels(layout), LayoutError) << layout.to_string();
        }
      }
    }
  }
}

TEST(Layout, TheErrorNamesTheAxisAndTheLayout) {
  try {
    check_levels(on_axes(Placement::shard(0), kReplicate, Placement::shard(0)));
    FAIL() << "no error";
  } catch (const LayoutError& error) {
    EXPECT_STREQ(
        error.what(),
        "[tp] the axes that split dim 0 must have the levels 0, 1, ..., each once: dp: Shard(0), tp: Shard(0). "
        "Number them from the outermost on: Placement::shard(0, level)");
  }
}

TEST(Layout, OnAMeshWithoutAnAxisIsThatOfTheOthers) {
  const Layout layout = on_axes(Placement::shard(0, 1), Placement::shard(0, 2), Placement::shard(0));
  EXPECT_EQ(on_mesh(layout, {.dp = 2, .cp = 2, .tp = 2}), layout);
  EXPECT_EQ(on_mesh(layout, {.dp = 2, .cp = 2}), on_axes(Placement::shard(0), Placement::shard(0, 1), kReplicate));
  EXPECT_EQ(on_mesh(layout, {.cp = 2, .tp = 2}), on_axes(kReplicate, Placement::shard(0, 1), Placement::shard(0)));
  EXPECT_EQ(on_mesh(layout, {.cp = 2}), on_axes(kReplicate, Placement::shard(0), kReplicate));
  EXPECT_EQ(on_mesh(layout, MeshShape{}), Layout());
  const Layout twice = on_axes(Placement::shard(0), kReplicate, Placement::shard(0));
  EXPECT_THROW(on_mesh(twice, {.dp = 2, .tp = 2}), LayoutError);
}

TEST(LocalShape, OfADimOnTwoAxesIsAPieceOfAPiece) {
  const struct {
    Layout layout;
    std::vector<Range> pieces;  // by rank; tp fastest
  } cases[] = {
      {on_axes(Placement::shard(1), kReplicate, Placement::shard(1, 1)), {{0, 2}, {2, 2}, {4, 2}, {6, 1}}},
      {on_axes(Placement::shard(1, 1), kReplicate, Placement::shard(1)), {{0, 2}, {4, 2}, {2, 2}, {6, 1}}},
  };
  for (const auto& [layout, pieces] : cases) {
    run_ranks(4, [&](Group& world) {
      Device device(1);
      const Mesh mesh(world, {.dp = 2, .tp = 2}, device);
      const Range mine = pieces[static_cast<std::size_t>(world.rank())];
      Shape begin;
      EXPECT_EQ(local_shape(Shape{3, 7}, layout, mesh, &begin), (Shape{3, mine.length})) << layout.to_string();
      EXPECT_EQ(begin, (Shape{0, mine.begin})) << layout.to_string();
    });
  }
}

TEST(LocalShape, FollowsTheDefinitionForEveryLayout) {
  const MeshShape mesh_shape{.dp = 2, .cp = 3, .tp = 2};
  run_ranks(12, [&](Group& world) {
    Device device(1);
    const Mesh mesh(world, mesh_shape, device);
    for (const Layout& layout : all_layouts({Axis::kDp, Axis::kCp, Axis::kTp}, 2, {})) {
      for (const Shape& shape : {Shape{17, 5}, Shape{1, 12}, Shape{0, 7}}) {
        Shape begin;
        const Shape local = local_shape(shape, layout, mesh, &begin);
        for (int dim = 0; dim < 2; ++dim) {
          const auto held = held_indices(shape[dim], dim, layout, mesh_shape, mesh.coordinate());
          EXPECT_EQ(local[dim], static_cast<int64_t>(held.size())) << layout.to_string();
          if (!held.empty()) {
            EXPECT_EQ(begin[dim], held.front()) << layout.to_string();
          }
        }
      }
    }
  });
}

TEST(SplitFurther, TakesTheDimThatLeavesTheSmallestPieces) {
  const MeshShape mesh{.dp = 4, .tp = 2};
  const Layout rows = Layout().with(Axis::kTp, Placement::shard(0));
  const auto dp_of = [&](const Shape& shape, const Layout& layout) {
    return split_further(layout, shape, Axis::kDp, mesh)[Axis::kDp];
  };
  EXPECT_EQ(dp_of(Shape{8, 12}, {}), Placement::shard(0));       // both divide: the first
  EXPECT_EQ(dp_of(Shape{3, 12}, {}), Placement::shard(1));       // 3 / 4 leaves a whole row of 12, 12 / 4 three of 3
  EXPECT_EQ(dp_of(Shape{3, 2}, {}), Placement::shard(0));        // 1 x 2 rather than 3 x 1
  EXPECT_EQ(dp_of(Shape{1}, {}), Placement::shard(0));           // the first rank has it
  EXPECT_EQ(dp_of(Shape{16, 9}, rows), Placement::shard(0, 1));  // 8 rows of a tp rank by 4
  EXPECT_EQ(dp_of(Shape{6, 8}, rows), Placement::shard(1));      // 3 rows of a tp rank
  EXPECT_EQ(split_further(rows, Shape{16, 9}, Axis::kDp, mesh)[Axis::kTp], Placement::shard(0));
  EXPECT_THROW(split_further(rows, Shape{16, 9}, Axis::kTp, mesh), LayoutError);
  EXPECT_THROW(split_further({}, Shape{}, Axis::kDp, mesh), LayoutError);
}

TEST(SplitFurther, SplitsDpAmongNearRanksWhereTheShapeTellsThemApart) {
  const MeshShape mesh{.dp = 4, .tp = 2, .dp_near = 2};
  const Layout rows = Layout().with(Axis::kTp, Placement::shard(0));
  EXPECT_EQ(split_further({}, Shape{3, 2}, Axis::kDp, mesh)[Axis::kDp],
            Placement::shard(1).near());  // 3 x 1, not 2 x 2
  EXPECT_EQ(split_further(rows, Shape{16, 9}, Axis::kDp, mesh)[Axis::kDp], Placement::shard(0, 1).near());
  EXPECT_EQ(split_further(rows, Shape{16, 9}, Axis::kDp, mesh).to_string(),
            "dp: Shard(0, level 1, near), tp: Shard(0)");
}

TEST(NearPlacement, IsAPlainShardWhereAllAreNear) {
  const Layout near = Layout().with(Axis::kDp, Placement::shard(0).near());
  EXPECT_EQ(on_mesh(near, MeshShape{.dp = 4, .dp_near = 2}), near);
  EXPECT_EQ(on_mesh(near, MeshShape{.dp = 4}), Layout().with(Axis::kDp, Placement::shard(0)));
  EXPECT_EQ(on_mesh(near, MeshShape{.dp = 4, .dp_near = 4}), Layout().with(Axis::kDp, Placement::shard(0)));
  EXPECT_EQ(on_mesh(near, MeshShape{.dp = 4, .dp_near = 1}), Layout());
}

// Of 5 rows, ranks 0 and 2 have the first three and ranks 1 and 3 the others; the first neighbourhood's copy counts.
TEST(NearPlacement, GivesEveryNeighbourhoodTheWhole) {
  run_ranks(4, [](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 4, .dp_near = 2}, device);
    const Layout near = Layout().with(Axis::kDp, Placement::shard(0).near());
    const int rank = world.rank();
    Shape begin;
    const Shape piece = local_shape(Shape{5, 2}, near, mesh, &begin);
    EXPECT_EQ(piece, (rank % 2 == 0 ? Shape{3, 2} : Shape{2, 2}));
    EXPECT_EQ(begin, (rank % 2 == 0 ? Shape{0, 0} : Shape{3, 0}));
    EXPECT_EQ(holds_first_copy(near, mesh), rank < 2);
    EXPECT_EQ(mesh.near_dp().size(), 2);
    EXPECT_EQ(mesh.near_dp().rank(), rank % 2);
    EXPECT_EQ(mesh.near_dp().world_rank(0), rank - rank % 2);
    EXPECT_EQ(mesh.far_dp().size(), 2);
    EXPECT_EQ(mesh.far_dp().rank(), rank / 2);
    EXPECT_EQ(mesh.far_dp().world_rank(1), rank % 2 + 2);
    EXPECT_THROW(plan_redistribute(near, Layout(), mesh.shape()), LayoutError);
  });
}

}  // namespace
}  // namespace triptych::test
