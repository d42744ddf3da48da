#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "small_tasks.h"
#include "support/user_error.h"

namespace triptych::test {
namespace {

std::string config_of_boxes(const std::string& task, int queries = 3) {
  const std::string first =
      fmt::format("task = \"{}\"\n", task) +
      "model.image = {size = 8, patch = 4, width = 12, layers = 1, heads = 2, feed_forward = 18}\n";
  if (task == "ground") return first + kText;
  return first + fmt::format("model.classes = 2\nmodel.queries = {}\n", queries) + kDecoder;
}

// Eleven samples: every third has no boxes, number 4 no picture, number 6 a box without a phrase and one without a
// class.
struct Boxed {
  ScratchFolder folder;
  std::shared_ptr<const Dataset> whole = make_data_set(folder / "all_of_it", 11, [](uint64_t i) {
    SmallSample sample{.image = noise(i, 16, 16), .captions = {"a picture", "the phrase"}};
    sample.roles = {TextRole::kCaption, TextRole::kPhrase};
    if (i == 4) sample.image.clear();
    if (i % 3 == 1) return sample;
    sample.boxes = {{.left = 0, .top = 0, .right = 8, .bottom = 8, .class_number = 1, .phrase = 1}};
    if (i == 6) {
      sample.boxes[0].phrase = -1;
      sample.boxes.push_back({.left = 4, .top = 4, .right = 16, .bottom = 12, .class_number = -1, .phrase = 1});
    }
    return sample;
  });
  std::shared_ptr<const Dataset> without = make_data_set(folder / "without", 3, [](uint64_t i) {
    return SmallSample{.image = noise(i, 16, 16), .captions = {"a picture"}};
  });
  std::shared_ptr<const Tokenizer> tokenizer = tokenizer_of(whole, 20);
};

const Boxed& boxed() {
  static const Boxed all;
  return all;
}

Found evaluate_boxes(const std::string& task, int num_ranks) {
  return evaluate(config_of_boxes(task), num_ranks, {boxed().whole->path().string()}, boxed().tokenizer);
}

TEST(BoxTasks, ADataSetWithoutBoxesIsRefused) {
  for (const char* task : {"detect", "ground"}) {
    const RunConfig config = parse_run_config(config_of_boxes(task), "run.toml", standard_tasks());
    EXPECT_NO_THROW(config.task->check_data(*boxed().whole)) << task;
    EXPECT_THROW(config.task->check_data(*boxed().without), UserError) << task;
    EXPECT_THROW(config.task->check_evaluation_set(*boxed().without), UserError) << task;
  }
  const RunConfig few = parse_run_config(config_of_boxes("detect", 1), "run.toml", standard_tasks());
  expect_parts(user_error_of([&] { few.task->check_data(*boxed().whole); }),
               {"model.queries = 1 boxes; one of this data set has 2"});
}

TEST(BoxTasks, PatchesAreAsManyQueriesAsThereArePatches) {
  const std::string config = "model.query_kind = \"patches\"\n" + config_of_boxes("detect", 5);
  // A run that trains checks the mesh too, against the model that there would be.
  const ScratchFolder folder;
  std::ofstream(folder / "run.toml") << config;
  expect_parts(
      user_error_of([&] { load_run_config(folder / "run.toml", {}, standard_tasks(), MeshUse::kPlan); }),
      {"model.queries", "must be the image's patches where model.query_kind is patches", "found 5. Set it to 4"});
}

// Of the 11 samples 7 have boxes: 0, 2, 3, 5, 6, 8, 9; of them one has a box without a class, which is not to be found.
TEST(BoxTasks, AnEvaluationIsOfTheBoxesThatAreThere) {
  const Found detect = evaluate_boxes("detect", 1);
  ASSERT_EQ(detect.metrics.size(), 2u);
  EXPECT_EQ(detect.metrics[0].first, "all of it: mAP");
  EXPECT_EQ(detect.metrics[1].first, "all of it: mAP at 0.5");
  EXPECT_LE(detect.metrics[0].second, detect.metrics[1].second);
  const auto& table = std::get<TablePanel>(detect.panels.at(0));
  EXPECT_EQ(table.subjects.at(0).notes.at(0), "7 pictures");
  EXPECT_EQ(table.subjects[0].notes.at(1), "7 objects");
  const auto& drawn = std::get<BoxesPanel>(detect.panels.at(1));
  ASSERT_FALSE(drawn.examples.empty());
  EXPECT_TRUE(drawn.examples[0].picture && drawn.examples[0].boxes.at(0).is_truth);
  EXPECT_EQ(drawn.examples[0].boxes[0].right, 0.5);
  EXPECT_EQ(std::get<TablePanel>(detect.panels.at(2)).subjects.at(0).name, "class 1");

  const Found ground = evaluate_boxes("ground", 1);
  ASSERT_EQ(ground.metrics.size(), 3u);
  EXPECT_EQ(ground.metrics[0].first, "all of it: accuracy at 0.5");
  EXPECT_EQ(ground.metrics[1].first, "all of it: accuracy at 0.5, image only");
  EXPECT_EQ(ground.metrics[2].first, "all of it: accuracy at 0.5, text only");
  const auto& phrases = std::get<TablePanel>(ground.panels.at(0)).subjects.at(0);
  EXPECT_EQ(phrases.notes.at(0), "7 phrases");
  ASSERT_EQ(phrases.rows.size(), 4u);
  // A box in the middle with the mean sides of six boxes of 8 x 8 and one of 12 x 8 of 16 pixels: its IoU with each.
  const double width = (6 * 0.5 + 0.75) / 7, left = 0.5 - width / 2;
  const double corner = (0.5 - left) * 0.25 / (0.25 + width * 0.5 - (0.5 - left) * 0.25);
  const double other = (std::min(1.0, 0.5 + width / 2) - std::max(0.25, left)) * 0.5;
  const double last = other / (0.75 * 0.5 + width * 0.5 - other);
  EXPECT_NEAR(phrases.rows[3].values.at(1).number, (6 * corner + last) / 7, 1e-6);
}

TEST(BoxTasks, AnyNumberOfRanksFindsTheSame) {
  for (const char* task : {"detect", "ground"}) {
    const Found one = evaluate_boxes(task, 1);
    for (const int ranks : {2, 3}) EXPECT_EQ(evaluate_boxes(task, ranks).metrics, one.metrics) << task << " " << ranks;
  }
}

}  // namespace
}  // namespace triptych::test
