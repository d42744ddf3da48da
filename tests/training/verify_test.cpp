#include "training/verify.h"

#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "data/scratch_folder.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "support/sanitizer.h"
#include "support/tolerance.h"
#include "tasks/standard_tasks.h"
#include "training/task_configs.h"
#include "training/verify_grid.h"

// A mesh's loss and gradients are those of one rank: for each task, in one process, so that a thousand cases do not
// start a thousand. What fails names its case.

namespace triptych::test {
namespace {

using Patterns = std::vector<std::string>;

int num_ranks_of(const ParallelOptions& parallel) {
  return parallel.mesh.pp * parallel.mesh.dp * parallel.mesh.cp * parallel.mesh.tp;
}

// `turn` chooses between the values of the model's own switches.
void expect_parallel_equals_serial(const std::string& task, ParallelOptions parallel, int turn,
                                   const Patterns& frozen = {}) {
  RunConfig config = parse_run_config(config_of(task, turn), "case", standard_tasks());
  parallel.bucket_mb = 0.003;  // many buckets
  config.parallel = parallel;
  // Whole groups of what `align` mismatches, in any microbatch.
  if (parallel.mesh.dp == 3) config.training.global_batch = 36;
  for (const std::string& pattern : frozen) config.treatment.groups.push_back({.pattern = pattern, .frozen = true});
  SCOPED_TRACE(fmt::format("{} turn {}: {}{}", task, turn, case_text(parallel),
                           frozen.empty() ? "" : fmt::format("  frozen {}", fmt::join(frozen, ", "))));
  const VerifyReference reference = verify_reference(config, RankPlace{});
  EXPECT_GT(reference.loss, 0.1);
  EXPECT_GE(reference.gradients.size(), frozen.empty() ? 31u : 3u);
  VerifyResult result;  // every rank's
  run_ranks(num_ranks_of(parallel), [&](Group& world) {
    const VerifyResult mine = verify(config, world, RankPlace{}, reference);
    if (world.rank() == 0) result = mine;
  });
  EXPECT_LT(result.loss_error, kBetweenMeshes);
  EXPECT_LT(result.worst_error, kBetweenMeshes) << result.worst_parameter;
  EXPECT_EQ(result.num_parameters, std::ssize(reference.gradients));
}

class ParallelEqualsSerial : public ::testing::TestWithParam<const char*> {
 protected:
  // What a config on a mesh is read as; cases are refused by the config's own checks.
  ReadConfig reader() {
    const std::filesystem::path file = folder_ / "run.toml";
    write_file_atomically(file, config_of(GetParam(), 0));
    return [file](const std::vector<std::string>& overrides, int num_ranks) {
      return load_run_config(file, overrides, standard_tasks(), MeshUse::kSteps, num_ranks);
    };
  }
  bool can_have(const ParallelOptions& p) {
    try {
      reader()({fmt::format("parallel.pp={}", p.mesh.pp), fmt::format("parallel.dp={}", p.mesh.dp),
                fmt::format("parallel.cp={}", p.mesh.cp), fmt::format("parallel.tp={}", p.mesh.tp),
                fmt::format("parallel.schedule=\"{}\"", p.schedule)},
               num_ranks_of(p));
    } catch (const UserError&) {
      return false;
    }
    return true;
  }
  ScratchFolder folder_;
};

// Under the address sanitizer, some of the cases: 7 shares no factor with the number of settings that go round.
constexpr std::size_t kStride = 7;

// Any two settings of [parallel] that can stand together do so in one case at least, for each task.
TEST_P(ParallelEqualsSerial, WhereAnyTwoSettingsMeet) {
  const VerifyGrid grid = verify_grid(reader(), 16, GridKind::kPairwise, {.pp = {1, 2, 3, 4}});
  EXPECT_GE(grid.cases.size(), 30u);
  int turn = 0;
  for (const ParallelOptions& parallel : fewer_if_sanitized(grid.cases, kStride)) {
    expect_parallel_equals_serial(GetParam(), parallel, turn++);
  }
}

// Parts of each kind frozen: a whole tower, so that stages have nothing to train; what lies in the middle, so that
// stages only pass gradients on; and single tensors of every block.
TEST_P(ParallelEqualsSerial, WherePartsAreFrozen) {
  const bool may_have_no_image = GetParam() == std::string("masked_text") || GetParam() == std::string("language");
  const std::vector<Patterns> parts{
      may_have_no_image ? Patterns{"text.embed.*", "text.blocks.0.*"} : Patterns{"image.*"},
      {"*.blocks.*"},
      may_have_no_image ? Patterns{"text.embed.*", "*.bias", "text.blocks.0.feed_forward.*"}
                        : Patterns{"image.embed.*", "*.bias", "image.blocks.0.feed_forward.*"}};
  const std::vector<std::string> schedules = schedule_names();
  std::vector<std::pair<ParallelOptions, Patterns>> cases;
  for (const Patterns& frozen : parts) {
    for (const MeshShape& mesh : {MeshShape{}, MeshShape{.dp = 2, .tp = 2}, MeshShape{.pp = 2, .dp = 2},
                                  MeshShape{.pp = 2, .dp = 2, .tp = 2}, MeshShape{.pp = 4}}) {
      const std::size_t turn = cases.size();
      const ParallelOptions parallel{.mesh = mesh,
                                     .schedule = schedules[(turn + turn / 5) % schedules.size()],
                                     .microbatches = 1 << turn % 3,
                                     .sequence_parallel = turn % 2 == 1,
                                     .recompute = kRecomputes[turn / 2 % 3],
                                     .zero = mesh.dp > 1 ? static_cast<int>(turn % 4) : 0};
      if (can_have(parallel)) cases.emplace_back(parallel, frozen);
    }
  }
  int turn = 0;
  for (const auto& [parallel, frozen] : fewer_if_sanitized(cases, kStride)) {
    expect_parallel_equals_serial(GetParam(), parallel, turn++, frozen);
  }
}

// Batches, sequences and pieces of weights over more ranks than divide them, or than there are tokens.
TEST_P(ParallelEqualsSerial, WhereNothingDivides) {
  const Patterns some{"*.bias", "*.blocks.0.feed_forward.*"};
  const std::vector<std::pair<ParallelOptions, Patterns>> cases{
      {{.mesh = {.cp = 3}, .recompute = Recompute::kFull}, {}},
      {{.mesh = {.cp = 4}, .schedule = "1f1b", .microbatches = 2}, {"*.blocks.0.*", "*.bias"}},
      {{.mesh = {.dp = 3}, .microbatches = 2, .zero = 1}, {}},
      {{.mesh = {.dp = 3}, .schedule = "1f1b", .microbatches = 4, .zero = 2}, some},
      {{.mesh = {.dp = 3}, .recompute = Recompute::kSelective, .zero = 3}, {}},
      {{.mesh = {.pp = 3, .tp = 2}, .schedule = "1f1b", .microbatches = 4, .sequence_parallel = true}, {}},
      {{.mesh = {.pp = 2, .dp = 3}, .schedule = "zb_h1", .microbatches = 4, .zero = 3}, some}};
  int turn = 0;
  for (const auto& [parallel, frozen] : fewer_if_sanitized(cases, 3)) {
    if (can_have(parallel)) expect_parallel_equals_serial(GetParam(), parallel, turn, frozen);
    ++turn;
  }
}

// Two of four replicas have a copy among them of what ZeRO shares out.
TEST_P(ParallelEqualsSerial, WherePiecesStayWithinNeighbourhoods) {
  const std::vector<ParallelOptions> cases{
      {.mesh = {.dp = 4, .dp_near = 2}, .microbatches = 2, .zero = 3},
      {.mesh = {.pp = 2, .dp = 4, .dp_near = 2}, .schedule = "1f1b", .microbatches = 2, .zero = 2},
      {.mesh = {.dp = 4, .tp = 2, .dp_near = 2}, .sequence_parallel = true, .zero = 1}};
  int turn = 0;
  for (const ParallelOptions& parallel : fewer_if_sanitized(cases, 3)) {
    if (can_have(parallel)) expect_parallel_equals_serial(GetParam(), parallel, turn, {});
    ++turn;
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, ParallelEqualsSerial,
                         ::testing::Values("contrastive", "classify", "caption", "coca", "masked_image", "masked_text",
                                           "answer", "align", "language", "detect", "ground"),
                         [](const auto& task) { return std::string(task.param); });

TEST(ParallelAndSerial, AreEqualWhereTheConfigSaysWhereStagesBegin) {
  RunConfig config = parse_run_config(config_of("contrastive", 0), "case", standard_tasks());
  const std::vector<BlockSpec> blocks = config.task->model().blocks;
  // The first stage has one block, the last but one nearly all.
  expect_parallel_equals_serial(
      "contrastive",
      {.mesh = {.pp = 3}, .schedule = "1f1b", .cuts = {blocks[1].name, blocks.back().name}, .microbatches = 2}, 0);
}

}  // namespace
}  // namespace triptych::test
