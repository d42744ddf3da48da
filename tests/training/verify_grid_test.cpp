#include "training/verify_grid.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "data/scratch_folder.h"
#include "parallel/pipeline/schedules.h"
#include "tasks/standard_tasks.h"
#include "training/task_configs.h"

namespace triptych::test {
namespace {

class Grid : public ::testing::Test {
 protected:
  VerifyGrid grid(int num_ranks, GridKind kind, const GridSizes& sizes, const std::string& more = "") {
    const std::filesystem::path file = folder_ / "run.toml";
    write_file_atomically(file, more + config_of("contrastive", 0));
    return verify_grid(
        [&](const std::vector<std::string>& overrides, int ranks) {
          return load_run_config(file, overrides, standard_tasks(), MeshUse::kSteps, ranks);
        },
        num_ranks, kind, sizes);
  }
  ScratchFolder folder_;
};

// Every setting of [parallel] that a case has, and those of which one does nothing alone, as words.
std::vector<std::string> settings_of(const ParallelOptions& p) {
  return {fmt::format("{}x{}", p.schedule, p.virtual_stages),
          fmt::format("pp{}", p.mesh.pp),
          fmt::format("dp{}zero{}of{}", p.mesh.dp, p.zero, p.mesh.num_near()),
          fmt::format("cp{}", p.mesh.cp),
          fmt::format("tp{}{}in{}", p.mesh.tp, p.sequence_parallel ? "s" : "", p.tp_pieces),
          std::string(recompute_name(p.recompute)),
          fmt::format("m{}", p.microbatches)};
}

std::set<std::string> pairs_of(const std::vector<ParallelOptions>& cases) {
  std::set<std::string> pairs;
  for (const ParallelOptions& p : cases) {
    const std::vector<std::string> settings = settings_of(p);
    for (const std::string& a : settings) {
      for (const std::string& b : settings) pairs.insert(a + " " + b);
    }
  }
  return pairs;
}

// Of the full grid by brute force: the schedules that can, on meshes of up to 8 ranks and 9 stages.
TEST_F(Grid, OfPairsHasEveryPairOfTheFullOne) {
  const GridSizes sizes{.pp = {1, 2, 5}, .dp = {1, 2}, .cp = {1}, .tp = {1}, .microbatches = {1, 3}};
  const VerifyGrid full = grid(8, GridKind::kFull, sizes), pairwise = grid(8, GridKind::kPairwise, sizes);
  std::size_t expected = 0;
  for (const ScheduleKind& kind : schedule_kinds()) {
    for (const int stages : {1, 2}) {
      for (const int pp : sizes.pp) {
        for (const int dp : sizes.dp) {
          const bool can = kind.can_have(stages) && pp * dp <= 8 && pp * stages <= 9;
          // Zero 0 to 3 with replicas; three recomputations, two numbers of microbatches.
          expected += can ? static_cast<std::size_t>((dp == 2 ? 4 : 1) * 3 * 2) : 0;
        }
      }
    }
  }
  const RunConfig config = parse_run_config(config_of("contrastive", 0), "grid", standard_tasks());
  ASSERT_EQ(config.task->model().blocks.size(), 9u) << "what the numbers above are for";
  EXPECT_EQ(full.cases.size(), expected);
  EXPECT_LT(pairwise.cases.size(), expected / 8);
  EXPECT_EQ(pairs_of(pairwise.cases), pairs_of(full.cases));
  EXPECT_EQ(pairwise.left_out, full.left_out);
}

TEST_F(Grid, TellsWhatIsLeftOutAndWhy) {
  const VerifyGrid found = grid(2, GridKind::kPairwise, {.microbatches = {1, 2, 5}});
  EXPECT_GT(found.num_beyond_ranks, 3);  // pp 4 alone, and pp 2 with dp, cp or tp 2
  ASSERT_FALSE(found.left_out.empty());
  EXPECT_EQ(found.left_out[0].find("microbatches 5: "), 0u) << found.left_out[0];
  EXPECT_NE(found.left_out[0].find("training.global_batch"), std::string::npos) << found.left_out[0];
  for (const ParallelOptions& p : found.cases) {
    EXPECT_NE(p.microbatches, 5);
    EXPECT_LE(p.mesh.pp * p.mesh.dp * p.mesh.cp * p.mesh.tp, 2);
  }
}

TEST_F(Grid, KeepsWhatItDoesNotChooseAndTakesAwayWhatIsForOneMesh) {
  const VerifyGrid found = grid(2, GridKind::kPairwise, {.pp = {1}},
                                "parallel.pp = 2\nparallel.cuts = [\"nonsense\"]\nparallel.bucket_mb = 3\n"
                                "parallel.memory_budget_mb = 100\n");
  EXPECT_TRUE(found.left_out.empty()) << found.left_out[0];
  for (const ParallelOptions& p : found.cases) {
    EXPECT_EQ(p.mesh.pp, 1);
    EXPECT_TRUE(p.cuts.empty());
    EXPECT_EQ(p.bucket_mb, 3);
    EXPECT_EQ(p.memory_budget_mb, 0);
  }
}

TEST_F(Grid, HasEachCaseInOneOfItsParts) {
  const VerifyGrid whole = grid(4, GridKind::kFull, {.cp = {1}, .microbatches = {1, 2}});
  std::multiset<std::string> expected, found;
  for (const ParallelOptions& p : whole.cases) expected.insert(case_text(p));
  for (const int index : {1, 2, 3, 4, 5, 6, 7}) {
    const std::vector<ParallelOptions> part = cases_of(whole, {.index = index, .count = 7});
    EXPECT_LE(part.size(), whole.cases.size() / 7 + 1);
    for (const ParallelOptions& p : part) found.insert(case_text(p));
  }
  EXPECT_EQ(found, expected);
  EXPECT_EQ(case_text(cases_of(whole, {.index = 3, .count = 1 << 30})[0]), case_text(whole.cases[2]));
  const int beyond = static_cast<int>(whole.cases.size()) + 1;
  EXPECT_THROW(cases_of(whole, {.index = beyond, .count = beyond}), UserError);
}

TEST(GridPart, IsTheKthOfN) {
  EXPECT_EQ(parse_grid_part("3/16").index, 3);
  EXPECT_EQ(parse_grid_part("3/16").count, 16);
  EXPECT_EQ(parse_grid_part("7/7").index, 7);
  for (const char* wrong : {"", "/", "3", "3/", "/3", "0/4", "5/4", "-1/4", "1/-4", "1/4/2", "1/4x", " 1/4", "1 /4",
                            "1.5/4", "1/99999999999", "99999999999/1"}) {
    EXPECT_THROW(parse_grid_part(wrong), UserError) << wrong;
  }
}

TEST(CaseText, LeavesOutWhatIsOff) {
  EXPECT_EQ(case_text({}), "pp 1 dp 1 cp 1 tp 1  gpipe  1 microbatch");
  EXPECT_EQ(case_text({.mesh = {.pp = 2, .dp = 4, .cp = 1, .tp = 2, .dp_near = 2},
                       .schedule = "zb_v",
                       .virtual_stages = 2,
                       .microbatches = 4,
                       .sequence_parallel = true,
                       .recompute = Recompute::kFull,
                       .zero = 3,
                       .tp_pieces = 3}),
            "pp 2 dp 4 cp 1 tp 2  zb_v x 2  4 microbatches  zero 3  zero_group 2  recompute full  sequence_parallel  "
            "tp_pieces 3");
}

}  // namespace
}  // namespace triptych::test
