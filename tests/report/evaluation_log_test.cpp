#include "report/evaluation_log.h"

#include <cmath>
#include <filesystem>
#include <limits>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"

namespace triptych::test {
namespace {

class EvaluationLogTest : public ::testing::Test {
 protected:
  EvaluationLogTest() {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~EvaluationLogTest() override { std::filesystem::remove_all(folder_); }
  std::string text() const { return read_text_file(folder_ / "evaluations.jsonl", 1 << 20); }

  std::filesystem::path folder_ =
      std::filesystem::path(::testing::TempDir()) / fmt::format("evaluation_log_{}", ::getpid());
};

TEST_F(EvaluationLogTest, ALineHasEveryNumberWithAllItsBitsInItsOrder) {
  const EvaluationLine line{.step = 200,
                            .seconds = 1.5,
                            .is_best = true,
                            .metrics = {{"z: loss", 1.0 / 3}, {"a: \"quoted\" recall@1", 0.1}, {"bad", NAN}}};
  const std::string text = to_json_line(line);
  EXPECT_EQ(
      text,
      R"({"step":200,"seconds":1.5,"best":true,"metrics":{"z: loss":0.3333333333333333,"a: \"quoted\" recall@1":0.1,"bad":null}})");
  const std::optional<EvaluationLine> again = parse_evaluation_line(text);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->step, 200);
  EXPECT_EQ(again->seconds, 1.5);
  EXPECT_TRUE(again->is_best);
  ASSERT_EQ(again->metrics.size(), 3u);
  EXPECT_EQ(again->metrics[0], line.metrics[0]);
  EXPECT_EQ(again->metrics[1], line.metrics[1]);
  EXPECT_TRUE(std::isnan(again->metrics[2].second));
}

TEST_F(EvaluationLogTest, OtherLinesAreNone) {
  for (const char* text : {"", "{", "[]", "{\"step\":1}", "{\"step\":1.5,\"metrics\":{}}",
                           "{\"step\":1,\"metrics\":{\"a\":\"b\"}}", "{\"step\":1,\"loss\":2}"}) {
    EXPECT_FALSE(parse_evaluation_line(text)) << text;
  }
  EXPECT_TRUE(is_evaluation_line(to_json_line(EvaluationLine{.step = 12})));
  EXPECT_TRUE(is_evaluation_line("{\"step\":12,\"sec"));  // torn
  EXPECT_FALSE(is_evaluation_line("{\"step\":12,\"loss\":1}"));
  EXPECT_FALSE(is_evaluation_line("{\"stop\":12}"));
}

TEST_F(EvaluationLogTest, GoingOnDropsWhatIsLaterAndWhatIsTorn) {
  {
    EvaluationLog log(folder_, 0);
    for (const int64_t step : {0, 10, 20}) log.write({.step = step, .metrics = {{"a", 1.0}}});
    log.sync();
  }
  EXPECT_EQ(read_evaluations(folder_ / "evaluations.jsonl").size(), 3u);
  write_file_atomically(folder_ / "evaluations.jsonl", text() + "{\"step\":30,\"sec");
  { const EvaluationLog log(folder_, 10); }
  const std::vector<EvaluationLine> kept = read_evaluations(folder_ / "evaluations.jsonl");
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[1].step, 10);
  { const EvaluationLog log(folder_, 0); }
  EXPECT_EQ(text(), "");
  EXPECT_TRUE(read_evaluations(folder_ / "none.jsonl").empty());
}

}  // namespace
}  // namespace triptych::test
