#include "training/loss_watch.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class LossWatches : public ::testing::Test {
 protected:
  // What is told of the next step.
  std::string step(double loss, bool is_skipped = false) {
    StepReport report;
    report.step = ++step_;
    report.values = {loss};
    report.grad_norm = is_skipped ? kInfinity : 1;
    report.num_skipped = num_skipped_ += is_skipped ? 1 : 0;
    return watch_.see(report);
  }

  int64_t step_ = 0, num_skipped_ = 2;
  LossWatch watch_{{.max_skipped = 3, .num_skipped = 2}};
};

TEST_F(LossWatches, IsLostAfterSoManySkippedStepsInARow) {
  for (int round = 0; round < 5; ++round) {  // two at a time, in between a good one
    step(kInfinity, true);
    step(kInfinity, true);
    EXPECT_FALSE(watch_.is_lost());
    EXPECT_FALSE(watch_.is_sound());
    step(1);
    EXPECT_TRUE(watch_.is_sound());
    EXPECT_EQ(watch_.since(), 0);
  }
  step(kInfinity, true);
  step(1, true);  // a gradient that is not finite under a loss that is
  EXPECT_FALSE(watch_.is_sound());
  step(kInfinity, true);
  EXPECT_TRUE(watch_.is_lost());
  EXPECT_EQ(watch_.since(), 16);
  EXPECT_EQ(watch_.cause(), "loss inf, gradient norm inf");
  step(1);  // under CUDA it was queued before the last report came
  EXPECT_TRUE(watch_.is_lost());
  EXPECT_FALSE(watch_.is_sound());
  EXPECT_EQ(watch_.since(), 16);
}

TEST_F(LossWatches, IsNeverLostWhereItShallNotBe) {
  watch_ = LossWatch({.num_skipped = 2});
  for (int i = 0; i < 1000; ++i) step(kInfinity, true);
  EXPECT_FALSE(watch_.is_lost());
}

TEST_F(LossWatches, TellsOfSkippedStepsOnceInAHundred) {
  EXPECT_NE(step(kInfinity, true).find("step 1 changes nothing"), std::string::npos);
  for (int i = 0; i < 99; ++i) EXPECT_EQ(step(1, i % 2 == 0), "");
  EXPECT_NE(step(kInfinity, true), "");
}

TEST_F(LossWatches, ADynamicLossScaleMayOverflow) {
  watch_ = LossWatch({.max_skipped = 3, .num_skipped = 2, .scales_loss = true});
  EXPECT_EQ(step(1, true), "");
  EXPECT_TRUE(watch_.is_sound());
  EXPECT_NE(step(kInfinity, true), "") << "but not the loss";
  EXPECT_FALSE(watch_.is_sound());
}

// A falling loss with a noise of 0.1 has no spikes; one of ten times the noise is told, once in a hundred steps.
TEST_F(LossWatches, TellsSpikesOnce) {
  const auto usual = [this] {
    return 3 - 0.001 * static_cast<double>(step_) + 0.1 * std::sin(12.9898 * static_cast<double>(step_));
  };
  for (int i = 0; i < 500; ++i) EXPECT_EQ(step(usual()), "") << "step " << step_;
  const std::string told = step(usual() + 1);
  EXPECT_NE(told.find("the loss of step 501 is a spike"), std::string::npos) << told;
  EXPECT_EQ(step(usual() + 1), "");
  for (int i = 0; i < 200; ++i) EXPECT_EQ(step(usual()), "");
  EXPECT_NE(step(usual() + 1), "");
}

TEST_F(LossWatches, ALossThatHardlyMovesHasNoSpikes) {
  for (int i = 0; i < 100; ++i) EXPECT_EQ(step(2 + 1e-6 * (i % 2)), "");
  EXPECT_EQ(step(2.1), "") << "a twentieth";
  EXPECT_NE(step(2.5), "") << "a quarter";
}

TEST_F(LossWatches, TheFirstStepsHaveNoSpikes) {
  for (int i = 0; i < 19; ++i) step(1 + 0.01 * i);
  EXPECT_EQ(step(100), "");
}

}  // namespace
}  // namespace triptych::test
