#include "parallel/redistribute_plan.h"

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/layout_cases.h"

namespace triptych::test {
namespace {

using Kind = RedistributeStep::Kind;

const MeshShape kShape{.dp = 2, .cp = 3, .tp = 4};
const AxisSet kAll{Axis::kDp, Axis::kCp, Axis::kTp};

Layout dp_tp(Placement dp, Placement tp) {
  return Layout().with(Axis::kDp, dp).with(Axis::kTp, tp);
}

std::vector<std::string> plan(const Layout& from, const Layout& to, const MeshShape& shape = kShape) {
  std::vector<std::string> texts;
  for (const RedistributeStep& step : plan_redistribute(from, to, shape)) texts.push_back(step.to_string());
  return texts;
}

using Steps = std::vector<std::string>;
const Placement kReplicate = Placement::replicate(), kSum = Placement::partial();

// The table, as the header of redistribute has it.
Kind kind_in_table(const Placement& from, const Placement& to) {
  using P = Placement::Kind;
  static const std::map<std::pair<P, P>, Kind> kTable{{{P::kPartial, P::kReplicate}, Kind::kAllReduce},
                                                      {{P::kShard, P::kReplicate}, Kind::kAllGather},
                                                      {{P::kPartial, P::kShard}, Kind::kReduceScatter},
                                                      {{P::kShard, P::kShard}, Kind::kAllToAll},
                                                      {{P::kReplicate, P::kShard}, Kind::kSlice}};
  return kTable.at({from.kind, to.kind});
}

// What can be said of the plan of any pair.
void check_plan(const Layout& from, const Layout& to) {
  const std::vector<RedistributeStep> steps = plan_redistribute(from, to, kShape);
  const std::string text = from.to_string() + " to " + to.to_string();
  Layout at = from;
  int num_changed = 0, num_sliced_from_whole = 0;
  for (const RedistributeStep& step : steps) {
    ASSERT_EQ(step.from, at[step.axis]) << text;
    ASSERT_EQ(step.kind, kind_in_table(step.from, step.to)) << text;
    at = at.with(step.axis, step.to);
    ASSERT_TRUE(has_valid_levels(at)) << text << " by way of " << at.to_string();
  }
  ASSERT_EQ(at, to) << text;
  for (const Axis axis : kAxes) {
    num_changed += from[axis] != to[axis];
    num_sliced_from_whole += from[axis].is_replicate() && to[axis].is_shard();
  }
  if (num_changed <= 1) {
    ASSERT_EQ(static_cast<int>(steps.size()), num_changed) << text;
  }
  if (num_changed != num_sliced_from_whole) return;
  for (const RedistributeStep& step : steps) ASSERT_EQ(step.kind, Kind::kSlice) << text;
}

TEST(RedistributePlan, OfEveryPairFollowsTheTableAndTheLevels) {
  const std::vector<Layout> layouts = all_layouts(kAll, 2, {ReduceOp::kSum});
  int num_pairs = 0;
  for (const Layout& from : layouts) {
    for (const Layout& to : layouts) {
      bool is_refused = false;
      for (const Axis axis : to.partial_axes()) is_refused = is_refused || from[axis] != to[axis];
      if (is_refused) {
        ASSERT_THROW(plan_redistribute(from, to, kShape), LayoutError) << from.to_string() << " to " << to.to_string();
      } else {
        check_plan(from, to);
        ++num_pairs;
      }
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(num_pairs, 5000);
}

TEST(RedistributePlan, TakesWholeDimsApartFromTheInnermostLevelOutwards) {
  const Layout inner_tp = dp_tp(Placement::shard(0), Placement::shard(0, 1));
  EXPECT_EQ(plan(inner_tp, {}),
            (Steps{"all_gather(tp: Shard(0, level 1) -> Replicate)", "all_gather(dp: Shard(0) -> Replicate)"}));
  EXPECT_EQ(plan({}, inner_tp),
            (Steps{"slice(dp: Replicate -> Shard(0))", "slice(tp: Replicate -> Shard(0, level 1))"}));
  EXPECT_EQ(plan(inner_tp, dp_tp(Placement::shard(0), Placement::shard(1))),
            (Steps{"all_to_all(tp: Shard(0, level 1) -> Shard(1))"}));
  EXPECT_EQ(plan(dp_tp(kSum, kSum), inner_tp),
            (Steps{"reduce_scatter(dp: Partial -> Shard(0))", "reduce_scatter(tp: Partial -> Shard(0, level 1))"}));
}

TEST(RedistributePlan, GoesThroughReplicateWhereTheLevelsLeaveNoOtherWay) {
  const Layout inner_tp = dp_tp(Placement::shard(0), Placement::shard(0, 1));
  const Steps both_whole{"all_gather(tp: Shard(0, level 1) -> Replicate)", "all_gather(dp: Shard(0) -> Replicate)"};
  Steps outer_leaves = both_whole, order_turns = both_whole;
  outer_leaves.push_back("slice(tp: Replicate -> Shard(0))");
  EXPECT_EQ(plan(inner_tp, dp_tp(kReplicate, Placement::shard(0))), outer_leaves);
  order_turns.insert(order_turns.end(),
                     {"slice(tp: Replicate -> Shard(0))", "slice(dp: Replicate -> Shard(0, level 1))"});
  EXPECT_EQ(plan(inner_tp, dp_tp(Placement::shard(0, 1), Placement::shard(0))), order_turns);
  // The placement of tp is the same before and after; the piece is another.
  const auto under = [](Axis outer) {
    return Layout().with(outer, Placement::shard(0)).with(Axis::kTp, Placement::shard(0, 1));
  };
  EXPECT_EQ(plan(under(Axis::kDp), under(Axis::kCp)),
            (Steps{"all_gather(tp: Shard(0, level 1) -> Replicate)", "all_gather(dp: Shard(0) -> Replicate)",
                   "slice(cp: Replicate -> Shard(0))", "slice(tp: Replicate -> Shard(0, level 1))"}));
  // An axis has no dim to go to before the other has left: the one with fewer ranks is gathered.
  const Layout by_rows_and_columns = dp_tp(Placement::shard(0), Placement::shard(1)),
               by_columns_and_rows = dp_tp(Placement::shard(1), Placement::shard(0));
  EXPECT_EQ(plan(by_rows_and_columns, by_columns_and_rows, {.dp = 2, .tp = 4}),
            (Steps{"all_gather(dp: Shard(0) -> Replicate)", "all_to_all(tp: Shard(1) -> Shard(0))",
                   "slice(dp: Replicate -> Shard(1))"}));
  EXPECT_EQ(plan(by_rows_and_columns, by_columns_and_rows, {.dp = 4, .tp = 2}),
            (Steps{"all_gather(tp: Shard(1) -> Replicate)", "all_to_all(dp: Shard(0) -> Shard(1))",
                   "slice(tp: Replicate -> Shard(0))"}));
}

TEST(RedistributePlan, MakesTheTensorSmallBeforeItIsSentAndLargeAfter) {
  const Placement rows = Placement::shard(0), columns = Placement::shard(1);
  EXPECT_EQ(plan(dp_tp(kReplicate, kSum), dp_tp(rows, kReplicate)),
            (Steps{"slice(dp: Replicate -> Shard(0))", "all_reduce(tp: Partial -> Replicate)"}));
  EXPECT_EQ(plan(dp_tp(kSum, rows), {}),
            (Steps{"all_reduce(dp: Partial -> Replicate)", "all_gather(tp: Shard(0) -> Replicate)"}));
  EXPECT_EQ(plan(dp_tp(kSum, kSum), dp_tp(rows, kReplicate)),
            (Steps{"reduce_scatter(dp: Partial -> Shard(0))", "all_reduce(tp: Partial -> Replicate)"}));
  EXPECT_EQ(plan(dp_tp(rows, columns), dp_tp(kReplicate, Placement::shard(2))),
            (Steps{"all_to_all(tp: Shard(1) -> Shard(2))", "all_gather(dp: Shard(0) -> Replicate)"}));
  EXPECT_EQ(plan(dp_tp(rows, kReplicate), dp_tp(kReplicate, columns)),
            (Steps{"slice(tp: Replicate -> Shard(1))", "all_gather(dp: Shard(0) -> Replicate)"}));
  // What sends the same in any order keeps tp before dp.
  EXPECT_EQ(plan(dp_tp(kSum, kSum), {}),
            (Steps{"all_reduce(tp: Partial -> Replicate)", "all_reduce(dp: Partial -> Replicate)"}));
}

TEST(RedistributePlan, AxesOfOneRankMakeNoDifference) {
  const Layout inner_tp = dp_tp(Placement::shard(0), Placement::shard(0, 1));
  EXPECT_EQ(plan(inner_tp, {}, {.tp = 2}), (Steps{"all_gather(tp: Shard(0) -> Replicate)"}));
  EXPECT_EQ(plan(inner_tp, {}, MeshShape{}), Steps{});
  EXPECT_EQ(plan(dp_tp(kSum, kReplicate), dp_tp(kReplicate, kReplicate), {.tp = 2}), Steps{});
}

TEST(RedistributePlan, RefusesWhatHasNoMeaning) {
  const Layout both = dp_tp(kSum, Placement::partial(ReduceOp::kMax));
  EXPECT_EQ(plan(both, both), Steps{});
  EXPECT_THROW(plan(both, {}), LayoutError);
  EXPECT_THROW(plan({}, dp_tp(kReplicate, Placement::shard(0, 1))), LayoutError);
  EXPECT_THROW(plan(dp_tp(Placement::shard(0), Placement::shard(0)), {}), LayoutError);
}

}  // namespace
}  // namespace triptych::test
