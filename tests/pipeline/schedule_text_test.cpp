#include "parallel/pipeline/schedule_text.h"

#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "parallel/pipeline/schedules.h"
#include "pipeline/pipeline_support.h"

namespace triptych::test {
namespace {

constexpr LossCoupling kSplit = LossCoupling::kSplit, kCoupled = LossCoupling::kCoupled;

TEST(ScheduleText, EveryKindIsReadBackAsItWas) {
  for (const LossCoupling coupling : {kSplit, kCoupled}) {
    for (const int ranks : {1, 2, 3}) {
      for (const std::string& name : schedule_names()) {
        const Schedule schedule = make_schedule(name, {ranks, 0, 5, coupling});
        const Schedule again = parse_schedule(to_text(schedule), "mine", coupling);
        EXPECT_EQ(again.ranks, schedule.ranks) << name << " " << ranks;
        EXPECT_EQ(again.rank_of_stage, schedule.rank_of_stage) << name << " " << ranks;
        EXPECT_EQ(again.num_microbatches, 5);
        EXPECT_EQ(again.coupling, coupling);
      }
    }
  }
}

TEST(ScheduleText, IsWhatComputesWithoutTheMessages) {
  EXPECT_EQ(to_text(make_schedule("1f1b", {2, 1, 2, kSplit})), "F0 F1 B0 B1\nF0 B0 F1 B1\n");
  EXPECT_EQ(to_text(make_schedule("zb_v", {1, 2, 1, kCoupled})), "F0@0 F0@1 L@1 D0@1 W0@1 D0@0 W0@0\n");
  EXPECT_EQ(to_text(make_schedule("zb_v", {1, 2, 2, kCoupled})).substr(0, 29), "E0@0 E1@0 E0@1 E1@1 L@1 F0@0 ");
}

TEST(ScheduleText, MayHaveCommentsAndEmptyLines) {
  const Schedule schedule = parse_schedule("# two ranks\n\n  F0 \t B0  # the first\r\nF0 B0", "mine", kSplit);
  EXPECT_EQ(words(schedule.ranks[0]), "F0 SF0 RB0 B0");
  EXPECT_EQ(words(schedule.ranks[1]), "RF0 F0 B0 SB0");
}

TEST(ScheduleText, IsForACoupledLossIfItHasOne) {
  EXPECT_EQ(parse_schedule("F0 B0\nF0 B0", "mine", std::nullopt).coupling, kSplit);
  EXPECT_EQ(parse_schedule("F0 B0\nF0 L B0", "mine", std::nullopt).coupling, kCoupled);
}

std::string error_of(const std::string& text, LossCoupling coupling = kSplit) {
  try {
    parse_schedule(text, "mine", coupling);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ScheduleText, NamesTheLineOfWhatIsNoAction) {
  const auto refused = [](const std::string& word) {
    return "[mine:2] must have words such as F0, B0, D0, W0, E0 or L, with @ and the stage where a rank has several, "
           "found '" +
           word + "'.";
  };
  for (const char* word : {"G0", "F", "F-1", "F0x", "F0@", "F0@x", "F0@-1", "L0", "f0", "SF0", "@0", "F65536",
                           "F0@65536", "F99999999999"}) {
    EXPECT_EQ(error_of("\nF0 " + std::string(word)), refused(word));
  }
}

TEST(ScheduleText, RefusesWhatIsNoSchedule) {
  EXPECT_EQ(error_of("# nothing\n"), "[mine] must have a line of actions for every rank, found none.");
  EXPECT_EQ(error_of("F0@0 B0@0\nF0@2 B0@2"), "[mine] must name every stage from 0, found 2 of 3.");
  EXPECT_EQ(error_of("F0@0 B0@0\nF0@0 B0@0"),
            "[mine:2] stage 0 must be of one rank, found it on rank 0 and on rank 1.");
  EXPECT_EQ(
      error_of("F0 B0\nF0"),
      "[mine] cannot be carried out: [pipeline schedule] rank 1, stage 1: B0 is missing. Sends (S) and receives (R) "
      "stand behind and in front of what they pass.");
  EXPECT_NE(error_of("F0 B0 F1 B1\nF0 F1 B0 B1").find("deadlock: "), std::string::npos);
  std::string many;
  for (int r = 0; r < 500; ++r) many += r == 0 ? "B0 F0\n" : "F0 B0\n";
  EXPECT_NE(error_of(many).find("; and 492 more ranks wait. Sends"), std::string::npos);
  EXPECT_LT(error_of(many).size(), 2000u);
  EXPECT_NE(error_of("F0 F1 B0 B1\nF1 F0 B0 B1").find("sends and receives must have one order"), std::string::npos);
  EXPECT_NE(
      error_of("F0 B0", kCoupled).find("the coupled loss, which gives its seed, was not evaluated: L must come first"),
      std::string::npos);
  EXPECT_NE(error_of("F65535@1023 B0@0").find("must name every stage from 0"), std::string::npos);
}

// A forward behind an embed leaves out what only the loss reads, so it can be nothing that the loss waits for.
TEST(ScheduleText, RefusesAnEmbedAndAForwardInAnOrderThatNoRunCanKeep) {
  const auto expect_in = [](const std::string& part, const std::string& text) {
    EXPECT_NE(error_of(text, kCoupled).find(part), std::string::npos) << text << "\n" << error_of(text, kCoupled);
  };
  expect_in("its forward comes behind", "E0 F0 L B0");
  expect_in("a microbatch is embedded first", "F0 E0 L B0");
  expect_in("a microbatch is embedded first", "F0 F1 L E0 E1 B0 B1");
  expect_in("its embed waits for the stage behind", "E0@0 F0@0 E0@1 L@1 F0@1 B0@1 B0@0");
  EXPECT_EQ(error_of("E0@0 E0@1 F0@0 L@1 F0@1 B0@1 B0@0", kCoupled), "no error");
  EXPECT_EQ(error_of("E0 F0 B0\nE0 L F0 B0", kCoupled), "no error");
}

}  // namespace
}  // namespace triptych::test
