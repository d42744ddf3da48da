#include "execution/executor.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "made_up_model.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "parallel/redistribute.h"
#include "pipeline/pipeline_support.h"
#include "support/rank_model.h"
#include "support/sanitizer.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

constexpr int64_t kRows = 24;  // of the global batch

// A mesh's result and one rank's: each is within `summed` of the exact one.
const double kBound = 2 * tolerance(DType::kFloat32).summed;

const ExecutionOptions kOptions{.seed = 17, .bucket_bytes = 200};  // several buckets

std::vector<ObjectiveSpec> objectives_of(const std::string& kind) {
  if (kind == "split") return {next_token(1)};
  if (kind == "coupled") return {contrastive_objective({})};
  if (kind == "masked") return masked_objectives();
  return {next_token(0.7), contrastive_objective({.kind = ContrastiveConfig::Kind::kSigmoid, .initial_bias = -1}, 0.4),
          classes(2)};
}

Schedule schedule_of(const std::string& kind, int num_ranks, int num_microbatches, LossCoupling coupling) {
  if (kind == "looped") return looped_gpipe(num_ranks, 2, num_microbatches, coupling);
  if (kind == "there_and_back") {
    std::vector<int> rank_of_stage;  // the middle ranks twice, the last one with two stages in a row
    for (int s = 0; s < 2 * num_ranks; ++s) rank_of_stage.push_back(s < num_ranks ? s : 2 * num_ranks - 1 - s);
    return gpipe_over(rank_of_stage, num_ranks, num_microbatches, coupling);
  }
  return make_schedule(kind, {num_ranks, 0, num_microbatches, coupling});
}

int64_t rows_of(const RankModel& rank) {
  return kRows / rank.mesh.size(Axis::kDp);
}

Fields batch_of(RankModel& rank, Targets targets) {
  return made_up_fields(rank.device, kRows, rank.mesh.rank(Axis::kDp) * rows_of(rank), rows_of(rank), targets);
}

struct Case {
  MeshShape mesh;
  std::string schedule, objectives;
  int microbatches = 1;
  bool sequence_parallel = false;
  Recompute recompute = Recompute::kNone;
};

std::string text_of(const Case& c) {
  return fmt::format("pp{}dp{}tp{}_{}_{}_m{}{}_{}", c.mesh.pp, c.mesh.dp, c.mesh.tp, c.schedule, c.objectives,
                     c.microbatches, c.sequence_parallel ? "_sp" : "", recompute_name(c.recompute));
}

// Runs two steps, of which the second has the order of gradients that the first has seen.
void expect_parallel_equals_serial(const Case& c, Targets targets) {
  const std::vector<ObjectiveSpec> objectives = objectives_of(c.objectives);
  const LossCoupling coupling = coupling_of(objectives);
  run_ranks(c.mesh.pp * c.mesh.dp * c.mesh.tp, [&](Group& world) {
    SCOPED_TRACE(text_of(c));
    const std::unique_ptr<Group> self = make_self_group("reference");
    RankModel reference(*self, {}, made_up_model(), objectives, gpipe({1, 1, 1, coupling}), kOptions);
    ExecutionOptions options = kOptions;
    options.recompute = c.recompute;
    RankModel rank(world, c.mesh, made_up_model(), objectives,
                   schedule_of(c.schedule, c.mesh.pp, c.microbatches, coupling), options, c.sequence_parallel);
    const std::vector<Fields> whole{batch_of(reference, targets)};
    const std::vector<Fields> mine = batch_of(rank, targets).cut(c.microbatches);
    std::vector<double> before;
    for (const int64_t step : {3, 4}) {
      const std::vector<double> expected = step_values_of(reference, reference.executor.run_step(whole, step));
      const std::vector<double> values = step_values_of(rank, rank.executor.run_step(mine, step));
      ASSERT_EQ(values.size(), expected.size());
      for (std::size_t i = 0; i < values.size(); ++i) {
        EXPECT_NEAR(values[i], expected[i], kBound * std::abs(expected[i])) << rank.executor.step_values()[i].name;
      }
      EXPECT_NE(values, before) << "the step's number keys the dropout";
      before = values;
      expect_same_gradients(rank, reference, kBound);
    }
  });
}

constexpr const char* kSchedules[] = {"gpipe", "1f1b", "looped", "there_and_back", "interleaved", "zb_h1", "zb_v"};

// Each schedule with each kind of loss and number of microbatches; the other switches go through their values in turn.
std::vector<Case> cases() {
  std::vector<Case> all;
  int turn = 0;
  for (const char* schedule : kSchedules) {
    for (const int pp : {1, 2, 3}) {
      for (const char* objectives : {"split", "coupled", "both", "masked"}) {
        for (const int microbatches : {1, 2, 4}) {
          const MeshShape mesh{.pp = pp, .dp = pp < 3 ? 1 + turn % 2 : 1, .tp = pp < 3 ? 1 + turn / 2 % 2 : 1};
          all.push_back({mesh, schedule, objectives, microbatches, turn / 4 % 2 == 1, kRecomputes[turn % 3]});
          ++turn;
        }
      }
    }
  }
  return all;
}

class ExecutorOnAMesh : public ::testing::TestWithParam<const char*> {};

TEST_P(ExecutorOnAMesh, EveryValueAndGradientIsThatOfOneRank) {
  // Seven shares no factor with the lengths of the loops above.
  for (const Case& c : fewer_if_sanitized(cases(), 7)) {
    if (c.schedule == GetParam()) expect_parallel_equals_serial(c, Targets::kRagged);
  }
}

INSTANTIATE_TEST_SUITE_P(Schedules, ExecutorOnAMesh, ::testing::ValuesIn(kSchedules),
                         [](const auto& schedule) { return std::string(schedule.param); });

TEST(Executor, ValuesAreTheRunsLossThenEachWithoutItsWeightThenScalars) {
  const std::unique_ptr<Group> self = make_self_group("test");
  const std::vector<ObjectiveSpec> objectives = objectives_of("both");
  RankModel rank(*self, {}, made_up_model(), objectives, gpipe({1, 1, 1, LossCoupling::kCoupled}), kOptions);
  std::vector<std::string> names;
  for (const StepValue& value : rank.executor.step_values()) names.push_back(value.name);
  EXPECT_EQ(names, (std::vector<std::string>{"loss", "loss.next", "loss.contrastive", "loss.classes", "temperature"}));
  EXPECT_EQ(step_values(masked_objectives()).back().name, "pairs");
  const std::vector<Fields> data{batch_of(rank, Targets::kRagged)};
  const std::vector<double> values = step_values_of(rank, rank.executor.run_step(data, 1));
  EXPECT_NEAR(values[0], 0.7 * values[1] + 0.4 * values[2] + 2 * values[3], 1e-12);

  // Each alone, with weight 1, has the same value, and the weighted sum of their gradients is the run's.
  std::map<std::string, std::vector<double>> sums;
  const std::vector<std::pair<ObjectiveSpec, double>> alone{
      {next_token(1), 0.7},
      {contrastive_objective({.kind = ContrastiveConfig::Kind::kSigmoid, .initial_bias = -1}), 0.4},
      {classes(1), 2}};
  for (std::size_t i = 0; i < alone.size(); ++i) {
    const std::vector<ObjectiveSpec> one{alone[i].first};
    RankModel single(*self, {}, made_up_model(), one, gpipe({1, 1, 1, coupling_of(one)}), kOptions);
    EXPECT_EQ(single.executor.step_values().front().name, "loss");
    EXPECT_EQ(single.executor.step_values().size(), i == 1 ? 2u : 1u);
    const std::vector<Fields> same{batch_of(single, Targets::kRagged)};
    const double loss = step_values_of(single, single.executor.run_step(same, 1))[0];
    EXPECT_NEAR(loss, values[1 + i], tolerance(DType::kFloat32).local * loss) << alone[i].first.name;
    for (const Parameter* parameter : single.store.all()) {
      const std::vector<float> gradient = parameter->gradient.tensor().to_vector<float>();
      std::vector<double>& sum = sums[parameter->name];
      sum.resize(gradient.size(), 0);
      for (std::size_t k = 0; k < gradient.size(); ++k) sum[k] += alone[i].second * gradient[k];
    }
  }
  for (const Parameter* parameter : rank.store.all()) {
    EXPECT_LT(relative_error(parameter->gradient.tensor().to_vector<float>(), sums.at(parameter->name)), kBound)
        << parameter->name;
  }
}

TEST(Executor, GradientsComeOutTimesTheLossScaleAndValuesDoNot) {
  const std::unique_ptr<Group> self = make_self_group("test");
  const std::vector<ObjectiveSpec> objectives = objectives_of("both");
  RankModel plain(*self, {}, made_up_model(), objectives, gpipe({1, 1, 2, LossCoupling::kCoupled}), kOptions);
  RankModel scaled(*self, {}, made_up_model(), objectives, gpipe({1, 1, 2, LossCoupling::kCoupled}), kOptions);
  const float factor = 64;
  const Tensor loss_scale = Tensor::from<float>(scaled.device, Shape{1}, std::span(&factor, 1));
  const Tensor a = plain.executor.run_step(batch_of(plain, Targets::kRagged).cut(2), 1);
  const Tensor b = scaled.executor.run_step(batch_of(scaled, Targets::kRagged).cut(2), 1, loss_scale.data<float>());
  EXPECT_EQ(a.to_vector<double>(), b.to_vector<double>());
  for (std::size_t i = 0; i < plain.store.all().size(); ++i) {
    std::vector<float> expected = plain.store.all()[i]->gradient.tensor().to_vector<float>();
    for (float& x : expected) x *= factor;  // a power of two: exact
    EXPECT_EQ(scaled.store.all()[i]->gradient.tensor().to_vector<float>(), expected) << plain.store.all()[i]->name;
  }
}

// One rank of `dp` and most microbatches without a single target, image or pair: they run the same collectives.
TEST(Executor, RanksAndMicrobatchesWithoutTargetsAreLikeOthers) {
  for (const char* objectives : {"split", "both", "masked"}) {
    expect_parallel_equals_serial({{.dp = 2}, "gpipe", objectives, 4}, Targets::kFirstThird);
    expect_parallel_equals_serial({{.pp = 2, .dp = 2}, "1f1b", objectives, 2}, Targets::kFirstThird);
  }
}

TEST(Executor, ABatchWithoutTargetsHasNoLossAndNoGradientOfIt) {
  expect_parallel_equals_serial({{.pp = 2, .dp = 2}, "1f1b", "both", 2}, Targets::kNone);
  const std::unique_ptr<Group> self = make_self_group("test");
  const auto run = [&](const std::vector<ObjectiveSpec>& objectives) {
    auto rank = std::make_unique<RankModel>(*self, MeshShape{}, made_up_model(), objectives,
                                            gpipe({1, 1, 2, coupling_of(objectives)}), kOptions);
    const Tensor summands = rank->executor.run_step(batch_of(*rank, Targets::kNone).cut(2), 1);
    return std::pair(step_values_of(*rank, summands), std::move(rank));
  };
  const auto [none, without] = run({next_token(3)});
  EXPECT_EQ(none, std::vector<double>{0});
  for (const Parameter* parameter : without->store.all()) {
    for (const float x : parameter->gradient.tensor().to_vector<float>()) ASSERT_EQ(x, 0) << parameter->name;
  }
  const ObjectiveSpec coupled = contrastive_objective({}, 0.4);
  const auto [values, both] = run({next_token(0.7), coupled, classes(2)});
  const auto [expected, alone] = run({coupled});
  EXPECT_EQ(values[1], 0);
  EXPECT_EQ(values[3], 0);
  EXPECT_EQ(values[0], expected[0]);
  expect_same_gradients(*both, *alone, kBound);
}

// Of 24 rows, the first 8 have an image, and all but each sixth from row 1 on a text.
TEST(Executor, WhatIsPresentIsCountedOverTheGlobalBatch) {
  run_ranks(4, [&](Group& world) {
    RankModel rank(world, {.pp = 2, .dp = 2}, made_up_model(), masked_objectives(),
                   schedule_of("1f1b", 2, 4, LossCoupling::kCoupled), kOptions);
    const auto pairs_of = [&](Targets targets) {
      return step_values_of(rank, rank.executor.run_step(batch_of(rank, targets).cut(4), 1)).back();
    };
    EXPECT_EQ(pairs_of(Targets::kFirstThird), 6);
    EXPECT_EQ(pairs_of(Targets::kRagged), 17);  // without rows 3, 10, 17 and 1, 7, 13, 19
    EXPECT_EQ(pairs_of(Targets::kNone), 0);
  });
}

TEST(Executor, ABatchWithNothingPresentHasNoLossAndNoGradient) {
  for (const MeshShape& mesh : {MeshShape{}, MeshShape{.pp = 2, .dp = 2}}) {
    run_ranks(mesh.pp * mesh.dp, [&](Group& world) {
      RankModel rank(world, mesh, made_up_model(), masked_objectives(),
                     schedule_of("1f1b", mesh.pp, 2, LossCoupling::kCoupled), kOptions);
      const std::vector<Fields> data = batch_of(rank, Targets::kNone).cut(2);
      const std::vector<double> values = step_values_of(rank, rank.executor.run_step(data, 1));
      for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(values[i], 0) << rank.executor.step_values()[i].name;
      for (const Parameter* parameter : rank.store.all()) {
        for (const float x : parameter->gradient.tensor().to_vector<float>()) ASSERT_EQ(x, 0) << parameter->name;
      }
    });
  }
}

TEST(Executor, InferenceOnAMeshIsThatOfOneRank) {
  const std::vector<std::string> outputs{"classes", "logits", "image_embedding"};
  for (const char* schedule : {"1f1b", "looped", "there_and_back"}) {
    for (const bool sequence_parallel : {false, true}) {
      run_ranks(8, [&](Group& world) {
        const std::unique_ptr<Group> self = make_self_group("reference");
        const std::vector<ObjectiveSpec> objectives = objectives_of("both");
        RankModel reference(*self, {}, made_up_model(), objectives, gpipe({1, 1, 1, LossCoupling::kCoupled}), kOptions);
        RankModel rank(world, {.pp = 2, .dp = 2, .tp = 2}, made_up_model(), objectives,
                       schedule_of(schedule, 2, 2, LossCoupling::kCoupled), kOptions, sequence_parallel);
        const Fields whole = batch_of(reference, Targets::kRagged), mine = batch_of(rank, Targets::kRagged);
        const Values expected = reference.executor.infer(whole, outputs), values = rank.executor.infer(mine, outputs);
        const bool has_end = rank.mesh.coordinate().pp == (std::string(schedule) == "there_and_back" ? 0 : 1);
        ASSERT_EQ(values.size(), has_end ? outputs.size() : 0) << "the last stage alone has them";
        if (!has_end) return;
        for (const std::string& name : outputs) {
          const Variable& value = value_of(values, name);
          const Tensor gathered =
              redistribute(value.tensor(), value.global_shape(), value.layout(), Layout(), rank.mesh);
          EXPECT_EQ(gathered.shape(), value_of(expected, name).tensor().shape()) << name;
          EXPECT_LT(relative_error(gathered.to_vector<float>(), value_of(expected, name).tensor().to_vector<float>()),
                    kBound)
              << name;
        }
      });
    }
  }
}

TEST(Executor, FieldsAreThoseThatTheWantedSlotsNeed) {
  const std::unique_ptr<Group> self = make_self_group("test");
  RankModel rank(*self, {}, made_up_model(), objectives_of("both"), gpipe({1, 1, 1, LossCoupling::kCoupled}), kOptions);
  const auto fields = [&](const std::vector<std::string>& outputs) { return rank.executor.fields(outputs); };
  using Names = std::vector<std::string>;
  EXPECT_EQ(fields({"side"}), Names{"tokens"});
  EXPECT_EQ(fields({"b"}), (Names{"lengths", "shift", "tokens"}));
  EXPECT_EQ(rank.executor.fields(), (Names{"label", "lengths", "shift", "targets", "tokens"}));
}

// A rank reads what its own stages need and no more: the first has the tokens, the last the targets.
TEST(Executor, FieldsAreThoseOfTheRanksStages) {
  run_ranks(2, [&](Group& world) {
    RankModel rank(world, {.pp = 2}, made_up_model(), {next_token(1)}, gpipe({2, 1, 1, LossCoupling::kSplit}),
                   kOptions);
    const std::vector<std::string> names = rank.executor.fields();
    const auto reads = [&](const char* name) { return std::find(names.begin(), names.end(), name) != names.end(); };
    EXPECT_EQ(reads("tokens"), world.rank() == 0);
    EXPECT_EQ(reads("targets"), world.rank() == 1);
    EXPECT_EQ(reads("shift"), world.rank() == 1);
    EXPECT_FALSE(reads("label"));
  });
}

}  // namespace
}  // namespace triptych::test
