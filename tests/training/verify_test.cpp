#include "training/verify.h"

#include <algorithm>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "support/sanitizer.h"
#include "support/tolerance.h"
#include "tasks/standard_tasks.h"
#include "training/task_configs.h"

namespace triptych::test {
namespace {

struct Case {
  std::string task;
  MeshShape mesh;
  std::string schedule;
  int microbatches;
  int turn;
  std::vector<std::string> frozen = {};  // patterns
  int zero = 0;

  bool sequence_parallel() const { return turn % 2 == 1; }
  Recompute recompute() const { return kRecomputes[turn / 2 % 3]; }
};

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return fmt::format("{}_pp{}dp{}cp{}tp{}_{}_m{}{}{}{}{}", c.task, c.mesh.pp, c.mesh.dp, c.mesh.cp, c.mesh.tp,
                     c.schedule, c.microbatches, c.sequence_parallel() ? "_sp" : "",
                     c.recompute() == Recompute::kNone ? "" : fmt::format("_{}", recompute_name(c.recompute())),
                     c.zero > 0 ? fmt::format("_zero{}", c.zero) : "",
                     c.frozen.empty() ? "" : fmt::format("_frozen{}", info.index));
}

// How a failure tells which case it was.
void PrintTo(const Case& c, std::ostream* out) {
  *out << name_of({c, 0});
}

class ParallelEqualsSerial : public ::testing::TestWithParam<Case> {};

TEST_P(ParallelEqualsSerial, LossAndEveryGradient) {
  const Case& c = GetParam();
  RunConfig config = parse_run_config(config_of(c.task, c.turn), "case", standard_tasks());
  config.parallel = {.mesh = c.mesh,
                     .schedule = c.schedule,
                     .microbatches = c.microbatches,
                     .sequence_parallel = c.sequence_parallel(),
                     .recompute = c.recompute(),
                     .zero = c.zero,
                     .bucket_mb = 0.003};                 // many buckets
  if (c.mesh.dp == 3) config.training.global_batch = 36;  // whole groups of what `align` mismatches, in any microbatch
  for (const std::string& pattern : c.frozen) {
    config.treatment.groups.push_back({.pattern = pattern, .frozen = true});
  }
  run_ranks(c.mesh.pp * c.mesh.dp * c.mesh.cp * c.mesh.tp, [&](Group& world) {
    const VerifyResult result = verify(config, world, RankPlace{});
    EXPECT_LT(result.loss_error, kBetweenMeshes);
    EXPECT_LT(result.worst_error, kBetweenMeshes) << result.worst_parameter;
    EXPECT_GT(result.reference_loss, 0.1);
    EXPECT_GE(result.num_parameters, c.frozen.empty() ? 31 : 3);
  });
}

constexpr const char* kTasks[] = {"contrastive", "classify", "caption",  "coca",   "masked_image", "masked_text",
                                  "answer",      "align",    "language", "detect", "ground"};

// Leaves out the pipelines that have more stages than the model has blocks.
std::vector<Case> possible(std::vector<Case> all) {
  std::map<std::string, int> num_blocks;
  std::erase_if(all, [&](const Case& c) {
    int& count = num_blocks[c.task];
    if (count == 0) {
      const RunConfig config = parse_run_config(config_of(c.task, 0), "case", standard_tasks());
      count = static_cast<int>(config.task->model().blocks.size());
    }
    return c.mesh.pp * schedule_kind(c.schedule).usual_virtual_stages() > count;
  });
  return all;
}

// Every mesh of {1, 2}^3 under every schedule: GPipe and 1F1B with every number of microbatches, those that came from
// them with one; the other switches go through all their values in turn, so that each meets each mesh.
std::vector<Case> grid() {
  const std::vector<std::string> simple{"gpipe", "1f1b"};
  std::vector<Case> all;
  const auto add = [&](const auto& cases_of) {
    for (const char* task : kTasks) {
      int turn = 0;
      for (int bits = 0; bits < 8; ++bits) {
        cases_of(task, MeshShape{.pp = 1 + (bits & 1), .dp = 1 + (bits >> 1 & 1), .cp = 1, .tp = 1 + (bits >> 2 & 1)},
                 turn);
      }
    }
  };
  add([&](const char* task, const MeshShape& mesh, int& turn) {
    for (const std::string& schedule : simple) {
      for (const int microbatches : {1, 2, 4}) all.push_back({task, mesh, schedule, microbatches, turn++});
    }
  });
  add([&](const char* task, const MeshShape& mesh, int& turn) {
    for (const std::string& schedule : schedule_names()) {
      if (std::ranges::find(simple, schedule) != simple.end()) continue;
      all.push_back({task, mesh, schedule, 1 << turn % 3, turn});
      ++turn;
    }
  });
  return possible(all);
}

// Stages between those that have the two ends of a tied weight.
std::vector<Case> long_pipelines() {
  std::vector<Case> all;
  for (const char* task : kTasks) {
    int turn = 0;
    for (const MeshShape& mesh : {MeshShape{.pp = 3}, MeshShape{.pp = 4}, MeshShape{.pp = 3, .tp = 2}}) {
      for (const std::string& schedule : schedule_names()) all.push_back({task, mesh, schedule, 4, turn++});
    }
  }
  return possible(all);
}

// Parts of each kind frozen: a whole tower, so that stages have nothing to train; what lies in the middle, so that
// stages only pass gradients on; and single tensors of every block.
std::vector<Case> frozen_parts() {
  using Parts = std::vector<std::vector<std::string>>;
  const Parts of_images{{"image.*"}, {"*.blocks.*"}, {"image.embed.*", "*.bias", "image.blocks.0.feed_forward.*"}},
      of_text{{"text.embed.*", "text.blocks.0.*"},
              {"*.blocks.*"},
              {"text.embed.*", "*.bias", "text.blocks.0.feed_forward.*"}};
  std::vector<Case> all;
  int turn = 0;
  for (const char* task : kTasks) {
    const bool may_have_no_image = task == std::string("masked_text") || task == std::string("language");
    const Parts& parts = may_have_no_image ? of_text : of_images;
    for (const std::vector<std::string>& frozen : parts) {
      for (const MeshShape& mesh : {MeshShape{}, MeshShape{.dp = 2, .tp = 2}, MeshShape{.pp = 2, .dp = 2},
                                    MeshShape{.pp = 2, .dp = 2, .tp = 2}, MeshShape{.pp = 4}}) {
        const std::vector<std::string> schedules = schedule_names();
        const std::string& schedule = schedules[static_cast<std::size_t>(turn + turn / 5) % schedules.size()];
        all.push_back({task, mesh, schedule, 1 << turn % 3, turn, frozen});
        ++turn;
      }
    }
  }
  return possible(all);
}

// Sequences shared out, beside every other axis: also over more ranks than divide them, or than there are tokens.
std::vector<Case> shared_out() {
  std::vector<Case> all;
  int turn = 0;
  const std::vector<std::string> schedules = schedule_names();
  for (const char* task : kTasks) {
    for (const MeshShape& mesh :
         {MeshShape{.cp = 2}, MeshShape{.cp = 3}, MeshShape{.cp = 2, .tp = 2}, MeshShape{.dp = 2, .cp = 2},
          MeshShape{.pp = 2, .cp = 2}, MeshShape{.pp = 2, .dp = 2, .cp = 2}}) {
      const std::string& schedule = schedules[static_cast<std::size_t>(turn + turn / 5) % schedules.size()];
      all.push_back({task, mesh, schedule, 1 << turn % 3, turn});
      ++turn;
    }
    all.push_back({task, {.cp = 4}, "1f1b", 2, turn++, {"*.blocks.0.*", "*.bias"}});
  }
  return possible(all);
}

// ZeRO 1 to 3 with every other kind of parallelism; every other case with a part of the model frozen.
std::vector<Case> sharded_state() {
  std::vector<Case> all;
  int turn = 0;
  for (const char* task : kTasks) {
    for (const MeshShape& mesh :
         {MeshShape{.dp = 2}, MeshShape{.dp = 3}, MeshShape{.dp = 2, .tp = 2}, MeshShape{.pp = 2, .dp = 2},
          MeshShape{.dp = 2, .cp = 2}, MeshShape{.pp = 2, .dp = 2, .tp = 2}}) {
      for (const int zero : {1, 2, 3}) {
        const std::vector<std::string> schedules = schedule_names();
        const std::string& schedule = schedules[static_cast<std::size_t>(turn) % schedules.size()];
        const std::vector<std::string> frozen = {"*.bias", "*.blocks.0.feed_forward.*"};
        all.push_back(
            {task, mesh, schedule, 1 << turn % 3, turn, turn % 2 == 1 ? frozen : std::vector<std::string>(), zero});
        ++turn;
      }
    }
  }
  return possible(all);
}

// Seven shares no factor with the lengths of the loops above: 11 tasks; 8 meshes with 9 cases each; 3 meshes and 5
// schedules; 3 choices of frozen parts and 5 meshes. So what is left under the address sanitizer has every task, and
// every mesh under every schedule.
auto cases(const std::vector<Case>& all) {
  return ::testing::ValuesIn(fewer_if_sanitized(all, 7));
}

TEST(ParallelEqualsSerial, WhereTheConfigSaysWhereStagesBegin) {
  RunConfig config = parse_run_config(config_of("contrastive", 0), "case", standard_tasks());
  const std::vector<BlockSpec> blocks = config.task->model().blocks;
  // The first stage has one block, the last but one nearly all.
  config.parallel = {
      .mesh = {.pp = 3}, .schedule = "1f1b", .cuts = {blocks[1].name, blocks.back().name}, .microbatches = 2};
  run_ranks(3, [&](Group& world) {
    const VerifyResult result = verify(config, world, RankPlace{});
    EXPECT_LT(result.loss_error, kBetweenMeshes);
    EXPECT_LT(result.worst_error, kBetweenMeshes) << result.worst_parameter;
  });
}

INSTANTIATE_TEST_SUITE_P(FrozenParts, ParallelEqualsSerial, cases(frozen_parts()), name_of);
INSTANTIATE_TEST_SUITE_P(Grid, ParallelEqualsSerial, cases(grid()), name_of);
INSTANTIATE_TEST_SUITE_P(SharedOut, ParallelEqualsSerial, cases(shared_out()), name_of);
INSTANTIATE_TEST_SUITE_P(ShardedState, ParallelEqualsSerial, cases(sharded_state()), name_of);
INSTANTIATE_TEST_SUITE_P(LongPipelines, ParallelEqualsSerial, cases(long_pipelines()), name_of);

}  // namespace
}  // namespace triptych::test
