#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "parallel/in_process_group.h"
#include "report/evaluation_log.h"
#include "support/sanitizer.h"
#include "support/tolerance.h"
#include "support/user_error.h"
#include "training/session.h"
#include "training/step.h"
#include "training/training_fixture.h"
#include "training/verify_grid.h"

// ZeRO: what ranks of dp keep a piece of each.

namespace triptych::test {
namespace {

struct Case {
  MeshShape mesh;
  int zero;
};

class ShardedTraining : public Training {
 protected:
  RunConfig sharded(const std::string& dir, const Case& c, const std::vector<std::string>& more = {}) {
    std::vector<std::string> overrides{fmt::format("parallel.zero={}", c.zero), "optimizer.ema_decay=0.9"};
    if (c.mesh.dp_near > 0) overrides.push_back(fmt::format("parallel.zero_group={}", c.mesh.dp_near));
    overrides.insert(overrides.end(), more.begin(), more.end());
    return config(dir, c.mesh, overrides);
  }
  void expect_near(const std::vector<StepMetrics>& expected, const std::string& dir) {
    const std::vector<StepMetrics> found = metrics(dir);
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(found[i].loss, expected[i].loss, kBetweenMeshes * expected[i].loss) << dir << " step " << i + 1;
      EXPECT_NEAR(found[i].grad_norm, expected[i].grad_norm, 10 * kBetweenMeshes * expected[i].grad_norm)
          << dir << " step " << i + 1;
    }
  }
};

// Each step on another mesh, from the checkpoint of the mesh before: the run of one rank. Between one rank and what has
// most in pieces, there and back; then on meshes in which any two settings of [parallel] meet.
TEST_F(ShardedTraining, GoesOnFromAnyMeshOnAnyOther) {
  constexpr std::size_t kSteps = 20;
  run(sharded("one", {{}, 0}));
  const std::vector<StepMetrics> expected = metrics("one");
  ASSERT_EQ(expected.size(), kSteps);
  std::vector<ParallelOptions> meshes{{},
                                      {.mesh = {.pp = 2, .dp = 2}, .microbatches = 2, .zero = 3},
                                      {},
                                      {.mesh = {.pp = 2, .dp = 4, .dp_near = 2}, .microbatches = 1, .zero = 2}};
  const VerifyGrid grid = verify_grid(
      [&](const std::vector<std::string>& overrides, int num_ranks) {
        return load_run_config(folder_ / "run.toml", overrides, standard_tasks(), MeshUse::kSteps, num_ranks);
      },
      8, GridKind::kPairwise);
  const std::size_t num_drawn = kSteps - meshes.size();
  ASSERT_GT(grid.cases.size(), num_drawn);
  for (std::size_t i = 0; i < num_drawn; ++i) meshes.push_back(grid.cases[i * grid.cases.size() / num_drawn]);
  meshes = fewer_if_sanitized(meshes, 5, 1);
  std::string path;
  RunConfig c = sharded("many", {{}, 0});
  for (std::size_t i = 0; i < meshes.size(); ++i) {
    c.parallel = meshes[i];
    c.training.stop_after = static_cast<int64_t>((i + 1) * kSteps / meshes.size());
    path += fmt::format("\n  to step {}: {}", c.training.stop_after, case_text(c.parallel));
    SCOPED_TRACE(path);
    run(c, {.resume = i == 0 ? "" : "latest"});
  }
  SCOPED_TRACE(path);
  expect_near(expected, "many");
  EXPECT_EQ(tensors(checkpoint("many", "20")).size(), tensors(checkpoint("one", "20")).size());
}

TEST_F(ShardedTraining, HasTheBitsOfARunThatNeverStopped) {
  for (const int zero : {1, 2, 3}) {
    const Case c{{.dp = 2}, zero};
    const std::string whole = fmt::format("whole{}", zero), halves = fmt::format("halves{}", zero);
    run(sharded(whole, c));
    RunConfig half = sharded(halves, c);
    half.training.stop_after = 10;
    run(half);
    half.training.stop_after = 0;
    run(half, {.resume = "latest"});
    expect_same_bits(metrics(whole), metrics(halves));
    EXPECT_EQ(tensors(checkpoint(whole, "20")), tensors(checkpoint(halves, "20")));
  }
}

// Evaluation between steps needs the weights whole, of the last step and of the average.
TEST_F(ShardedTraining, EvaluatesWhileItTrains) {
  const std::vector<std::string> evaluation{fmt::format("evaluation.sets=[\"{}\"]", data_set().string()),
                                            "evaluation.every=5", "evaluation.weights=\"ema\""};
  std::vector<std::string> lines;
  for (const int zero : {0, 1, 3}) {
    const std::string dir = fmt::format("zero{}", zero);
    run(sharded(dir, {{.dp = 2}, zero}, evaluation));
    EXPECT_EQ(read_evaluations(folder_ / dir / "evaluations.jsonl").size(), 5u);
    if (zero == 0) continue;
    const auto expected = read_evaluations(folder_ / "zero0/evaluations.jsonl"),
               found = read_evaluations(folder_ / dir / "evaluations.jsonl");
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i].metrics.size(), expected[i].metrics.size());
      for (std::size_t k = 0; k < found[i].metrics.size(); ++k) {
        EXPECT_NEAR(found[i].metrics[k].second, expected[i].metrics[k].second, 1e-3) << found[i].metrics[k].first;
      }
    }
  }
}

TEST_F(ShardedTraining, RefusesAGroupThatSharesNothingOut) {
  const auto refused = [&](const std::vector<std::string>& keys, const std::vector<std::string>& parts) {
    expect_parts(user_error_of([&] { config("refused", {.dp = 4}, keys); }), parts);
  };
  refused({"parallel.zero_group=2"}, {"parallel.zero_group", "parallel.zero, which is 0", "Set parallel.zero to"});
  refused({"parallel.zero=1", "parallel.zero_group=3"}, {"parallel.zero_group", "must divide parallel.dp: 3 of 4"});
  refused({"parallel.zero=1", "parallel.zero_group=1"}, {"parallel.zero_group", "of 1 shares nothing out"});
}

// Bytes that a rank keeps between steps are those that docs/parallelism.md gives.
TEST(ZeroTest, KeepsAPieceOfWhatItsNumberSays) {
  constexpr int kRanks = 4;
  for (const bool halves : {false, true}) {
    for (const auto& [zero, group] : {std::pair(0, 0), {1, 0}, {2, 0}, {3, 0}, {3, 2}}) {
      RunConfig config = parse_run_config(
          "task = \"classify\"\ntraining.global_batch = 8\nmodel.classes = 16\n[model.image]\nsize = 16\npatch = 4\n"
          "width = 64\nlayers = 2\nheads = 2\nfeed_forward = 256\n",
          "case", standard_tasks());
      config.parallel = {.mesh = {.dp = kRanks, .dp_near = group}, .zero = zero};
      config.training.precision = halves ? DType::kBFloat16 : DType::kFloat32;
      run_ranks(kRanks, [&](Group& world) {
        Session session(config, world, RankPlace{});
        AdamW optimizer(session.device(), session.store().all(), AdamWOptions());
        TrainingStep steps(session, optimizer);
        const Fields data = synthetic_fields(session, config);
        for (int step = 0; step < 2; ++step) {
          steps.run(data.cut(1), step, 1e-3, {});
          steps.take(0);
        }
        double elements = 0, in_halves = 0;
        for (const Parameter* p : session.store().all()) {
          elements += static_cast<double>(p->global_shape.num_elements());
          if (p->compute.dtype() != DType::kFloat32) in_halves += static_cast<double>(p->global_shape.num_elements());
        }
        const MemoryByPart used = session.device().memory().used_by_part;
        const auto expect_about = [&](MemoryPart part, double bytes) {
          EXPECT_GE(static_cast<double>(used[part]), 0.98 * bytes) << memory_part_name(part) << " zero " << zero;
          EXPECT_LE(static_cast<double>(used[part]), 1.15 * bytes) << memory_part_name(part) << " zero " << zero;
        };
        const double piece = elements / config.parallel.mesh.num_near();
        expect_about(MemoryPart::kParameters, 4 * (zero >= 1 ? piece : elements));
        expect_about(MemoryPart::kOptimizerState, 8 * (zero >= 1 ? piece : elements));
        expect_about(MemoryPart::kGradients, 4 * (zero >= 1 ? piece : elements));
        // Between steps weights are old or given up, where they are gathered; those that stay keep their memory.
        expect_about(MemoryPart::kComputeCopies, zero == 3   ? 0
                                                 : zero == 0 ? 2 * in_halves
                                                             : 4 * (elements - in_halves) + 2 * in_halves);
      });
    }
  }
}

}  // namespace
}  // namespace triptych::test
