#include "training/held_out.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "checkpoint/checkpoint_folder.h"
#include "report/evaluation_log.h"
#include "support/tolerance.h"
#include "training/trained_model.h"
#include "training/training_fixture.h"

namespace triptych::test {
namespace {

class HeldOutRun : public Training {
 protected:
  std::vector<std::string> evaluating(std::vector<std::string> more = {}) {
    more.insert(more.end(), {fmt::format("evaluation.sets=[\"{}\"]", data_set().string()), "evaluation.every=5",
                             "evaluation.batch=5"});
    return more;
  }
  std::vector<EvaluationLine> evaluations(const std::string& dir) {
    return read_evaluations(folder_ / dir / "evaluations.jsonl");
  }
  // What `triptych eval` finds of a checkpoint, on the config's mesh.
  std::vector<std::pair<std::string, double>> measured(const RunConfig& c, const std::string& which) {
    const MeshShape& mesh = c.parallel.mesh;
    std::vector<std::pair<std::string, double>> metrics;
    run_ranks(mesh.pp * mesh.dp * mesh.cp * mesh.tp, [&](Group& group) {
      ThreadWorld world(group);
      TrainedModel model(c, world, which);
      const EvaluationResults results =
          measure_sets(c, model.inference(),
                       {.sets = c.evaluation.sets, .tokenizer = model.tokenizer(), .baselines = {}, .maps = 0});
      if (group.rank() == 0) metrics = results.metrics;
    });
    return metrics;
  }
  static double value(const EvaluationLine& line, const std::string& name) {
    for (const auto& [key, number] : line.metrics) {
      if (key == name) return number;
    }
    ADD_FAILURE() << "no " << name;
    return 0;
  }
};

const std::vector<MeshShape> kMeshes{{}, {.dp = 2}, {.tp = 2}, {.pp = 2}, {.cp = 2}};

TEST_F(HeldOutRun, ChangesNoBitOfTheTrainingAndFindsWhatEvalFinds) {
  for (const MeshShape& mesh : kMeshes) {
    const std::string name = fmt::format("pp{}dp{}cp{}tp{}", mesh.pp, mesh.dp, mesh.cp, mesh.tp);
    SCOPED_TRACE(name);
    run(config(name + "without", mesh));
    const RunConfig c = config(name, mesh, evaluating());
    run(c);
    expect_same_bits(metrics(name + "without"), metrics(name));
    EXPECT_EQ(tensors(checkpoint(name + "without", "latest")), tensors(checkpoint(name, "latest")));
    const std::vector<EvaluationLine> lines = evaluations(name);
    ASSERT_EQ(lines.size(), 5u);  // before the first step, and after 5, 10, 15, 20
    for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i].step, static_cast<int64_t>(5 * i));
    for (const std::size_t i : {2u, 4u}) EXPECT_EQ(measured(c, std::to_string(lines[i].step)), lines[i].metrics);
    EXPECT_LT(value(lines[4], "data: loss"), value(lines[0], "data: loss"));
  }
}

TEST_F(HeldOutRun, EveryMeshFindsTheSame) {
  const RunConfig c = config("run", {}, evaluating({"training.stop_after=5"}));
  run(c);
  const EvaluationLine one = evaluations("run").at(1);
  for (const MeshShape& mesh :
       {MeshShape{.dp = 3}, MeshShape{.dp = 2}, MeshShape{.tp = 2}, MeshShape{.pp = 2}, MeshShape{.cp = 3}}) {
    RunConfig other = c;
    other.parallel.mesh = mesh;  // the batch of 8 does not divide by 3
    const auto found = measured(other, "5");
    ASSERT_EQ(found.size(), one.metrics.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].first, one.metrics[i].first);
      EXPECT_NEAR(found[i].second, one.metrics[i].second, 1e-5) << found[i].first;
    }
  }
}

// The loss of the towers' own embeddings, by loops in double precision.
TEST_F(HeldOutRun, TheLossIsThatOfTheBatchesOfTheSet) {
  const RunConfig c = config("run", {}, evaluating({"training.stop_after=5"}));
  run(c);
  double expected = 0;
  run_ranks(1, [&](Group& group) {
    ThreadWorld world(group);
    TrainedModel model(c, world, "5");
    std::map<std::string, std::vector<float>> rows;
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(data_set()));
    const std::vector<std::string> slots{"image_embedding", "text_embedding"};
    model.inference().run(dataset, c.task->fields(model.tokenizer()), EvaluationItems::kSamples, slots,
                          [&](const InferredRows& found) {
                            for (const std::string& slot : slots) {
                              const std::vector<float>& values = found.outputs.at(slot);
                              rows[slot].insert(rows[slot].end(), values.begin(), values.end());
                            }
                          });
    double scale = 0;
    for (const Parameter* parameter : model.session().store().all()) {
      if (parameter->name == "objective.log_scale") scale = std::exp(double{parameter->value.to_vector<float>()[0]});
    }
    const std::size_t width = 12, n = 23, batch = 8;
    const auto dot = [&](std::size_t image, std::size_t text) {
      double sum = 0;
      for (std::size_t k = 0; k < width; ++k) {
        sum += double{rows["image_embedding"][image * width + k]} * double{rows["text_embedding"][text * width + k]};
      }
      return scale * sum;
    };
    for (std::size_t first = 0; first < n; first += batch) {
      const std::size_t end = std::min(first + batch, n);
      for (std::size_t i = first; i < end; ++i) {
        double to_text = 0, to_image = 0;
        for (std::size_t j = first; j < end; ++j) {
          to_text += std::exp(dot(i, j) - dot(i, i));
          to_image += std::exp(dot(j, i) - dot(i, i));
        }
        expected += (std::log(to_text) + std::log(to_image)) / 2 / static_cast<double>(n);
      }
    }
  });
  EXPECT_NEAR(value(evaluations("run").at(1), "data: loss"), expected, 1e-4 * expected);
}

TEST_F(HeldOutRun, AveragesAreMeasuredAndTheWeightsStay) {
  const std::vector<std::string> kept{"optimizer.ema_decay=0.9", "training.precision=bf16"};
  run(config("without", {.dp = 2}, kept));
  std::vector<std::string> more = evaluating(kept);
  more.emplace_back("evaluation.weights=ema");
  const RunConfig c = config("run", {.dp = 2}, more);
  run(c);
  expect_same_bits(metrics("without"), metrics("run"));
  EXPECT_EQ(tensors(checkpoint("without", "latest")), tensors(checkpoint("run", "latest")));
  const std::vector<EvaluationLine> lines = evaluations("run");
  EXPECT_EQ(measured(c, "20"), lines.at(4).metrics);
  RunConfig last = c;
  last.evaluation.weights = SavedWeights::kLast;
  EXPECT_NE(measured(last, "20"), lines.at(4).metrics);
}

// Recall moves up and down: the best is one in the middle.
TEST_F(HeldOutRun, TheBestIsKeptAndAResumedRunDecidesAlike) {
  const auto keeping = [&](const std::string& dir) {
    RunConfig c = config(dir, {.dp = 2},
                         evaluating({"evaluation.best=\"data: text to image recall@5\"", "training.steps=40",
                                     "checkpoint.keep=1", "checkpoint.every=5"}));
    return c;
  };
  run(keeping("whole"));
  const std::vector<EvaluationLine> lines = evaluations("whole");
  ASSERT_EQ(lines.size(), 9u);
  double most = -1;
  int64_t best = -1;
  for (const EvaluationLine& line : lines) {
    const double recall = value(line, "data: text to image recall@5");
    EXPECT_EQ(line.is_best, line.step > 0 && recall > most) << line.step;
    if (!line.is_best) continue;
    most = recall;
    best = line.step;
  }
  EXPECT_EQ(best_step(folder_ / "whole/checkpoints"), best);
  EXPECT_EQ(checkpoint("whole", "best").manifest().run.step, best);
  ASSERT_LT(best, 40);
  EXPECT_EQ(list_steps(folder_ / "whole/checkpoints"), (std::vector<int64_t>{best, 40}));

  RunConfig halves = keeping("halves");
  halves.training.stop_after = 25;
  run(halves);
  halves.training.stop_after = 0;
  run(halves, {.resume = "latest"});
  const std::vector<EvaluationLine> again = evaluations("halves");
  ASSERT_EQ(again.size(), lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(again[i].metrics, lines[i].metrics) << i;
    EXPECT_EQ(again[i].is_best, lines[i].is_best) << i;
  }
  EXPECT_EQ(best_step(folder_ / "halves/checkpoints"), best);
  EXPECT_EQ(tensors(checkpoint("halves", "latest")), tensors(checkpoint("whole", "latest")));
}

TEST_F(HeldOutRun, PatienceEndsTheRunAndAResumedOneIsComplete) {
  // At a rate of nearly nothing it gets no better than it is.
  const std::vector<std::string> stuck =
      evaluating({"evaluation.best=\"data: image to text recall@10\"", "evaluation.patience=2",
                  "optimizer.learning_rate=1e-12", "evaluation.every=2", "checkpoint.every=0"});
  for (const bool stops : {false, true}) {
    const std::string dir = stops ? "halves" : "whole";
    RunConfig c = config(dir, {.dp = 2}, stuck);
    c.evaluation.every = 2;
    if (stops) {
      c.training.stop_after = 5;
      run(c);
      c.training.stop_after = 0;
      run(c, {.resume = "latest"});
    } else {
      run(c);
    }
    const std::vector<EvaluationLine> lines = evaluations(dir);
    ASSERT_EQ(lines.size(), 4u) << "0, the best at 2, no better at 4 and 6";
    EXPECT_EQ(metrics(dir).size(), 6u);
    EXPECT_EQ(checkpoint(dir, "latest").manifest().run.step, 6);
    EXPECT_EQ(checkpoint(dir, "best").manifest().run.step, 2);
    run(c, {.resume = "latest"});
    EXPECT_EQ(metrics(dir).size(), 6u) << "nothing was left to do";
    c.evaluation.patience = 3;
    c.training.stop_after = 7;
    run(c, {.resume = "latest"});
    EXPECT_EQ(metrics(dir).size(), 7u);
  }
}

TEST_F(HeldOutRun, WhatCannotBeIsSaidBeforeTheFirstStep) {
  expect_refused(config("run", {.dp = 2}, evaluating({"evaluation.best=\"data: recal\""})), {},
                 "must name what is measured, found \"data: recal\". Name one of \"data: image to text recall@1\"");
  EXPECT_TRUE(metrics("run").empty());
  expect_refused(config("other", {.dp = 2}, {"evaluation.every=5", "evaluation.sets=[\"/nowhere\"]"}), {}, "/nowhere");
  for (const auto& [override, part] :
       std::map<std::string, std::string>{{"evaluation.every=5", "needs data sets to evaluate on"},
                                          {"evaluation.best=\"a\"", "needs evaluations while training"},
                                          {"evaluation.patience=3", "needs a metric that gets better"}}) {
    try {
      config("none", {}, {override});
      ADD_FAILURE() << override;
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace triptych::test
