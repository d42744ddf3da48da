#include "parallel/pipeline/schedule.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>

#include <gtest/gtest.h>

#include "base/error.h"
#include "parallel/pipeline/simulate.h"

namespace triptych {
namespace {

std::string words(const std::vector<Action>& actions) {
  std::string text;
  for (const Action& action : actions) {
    if (!text.empty()) text += ' ';
    text += to_string(action);
  }
  return text;
}

TEST(Schedule, GPipeListsAllForwardsBeforeAllBackwards) {
  const Schedule schedule = make_schedule(ScheduleKind::kGPipe, 3, 2, LossCoupling::kSplit);
  EXPECT_EQ(words(schedule.stages[0]), "F0 SF0 F1 SF1 RB0 B0 RB1 B1");
  EXPECT_EQ(words(schedule.stages[1]), "RF0 F0 SF0 RF1 F1 SF1 RB0 B0 SB0 RB1 B1 SB1");
  EXPECT_EQ(words(schedule.stages[2]), "RF0 F0 RF1 F1 B0 SB0 B1 SB1");
}

TEST(Schedule, OneForwardOneBackwardAlternatesAfterItsWarmUp) {
  const Schedule schedule = make_schedule(ScheduleKind::k1F1B, 2, 3, LossCoupling::kSplit);
  EXPECT_EQ(words(schedule.stages[0]), "F0 SF0 F1 SF1 RB0 B0 F2 SF2 RB1 B1 RB2 B2");
  EXPECT_EQ(words(schedule.stages[1]), "RF0 F0 B0 SB0 RF1 F1 B1 SB1 RF2 F2 B2 SB2");
}

TEST(Schedule, ACoupledLossStandsBetweenEveryEmbeddingAndEveryBackward) {
  const Schedule gpipe = make_schedule(ScheduleKind::kGPipe, 2, 2, LossCoupling::kCoupled);
  EXPECT_EQ(words(gpipe.stages[0]), "F0 SF0 F1 SF1 RB0 B0 RB1 B1");
  EXPECT_EQ(words(gpipe.stages[1]), "RF0 F0 RF1 F1 L B0 SB0 B1 SB1");
  const Schedule alternating = make_schedule(ScheduleKind::k1F1B, 2, 2, LossCoupling::kCoupled);
  EXPECT_EQ(words(alternating.stages[0]), "E0 SE0 E1 SE1 F0 SF0 F1 SF1 RB0 B0 RB1 B1");
  EXPECT_EQ(words(alternating.stages[1]), "RE0 E0 RE1 E1 L RF0 F0 B0 SB0 RF1 F1 B1 SB1");
}

TEST(Schedule, OneStageSendsNothing) {
  EXPECT_EQ(words(make_schedule(ScheduleKind::kGPipe, 1, 1, LossCoupling::kCoupled).stages[0]), "F0 L B0");
  EXPECT_EQ(words(make_schedule(ScheduleKind::k1F1B, 1, 2, LossCoupling::kSplit).stages[0]), "F0 B0 F1 B1");
}

TEST(Schedule, RefusesSizesThatAreNoPipeline) {
  const auto make = [](int stages, int microbatches) {
    return make_schedule(ScheduleKind::k1F1B, stages, microbatches, LossCoupling::kSplit);
  };
  EXPECT_THROW(make(0, 1), UserError);
  EXPECT_THROW(make(1, 0), UserError);
  EXPECT_THROW(make(kMaxStages + 1, 1), UserError);
  EXPECT_THROW(make(1, kMaxMicrobatches + 1), UserError);
  EXPECT_THROW(make(kMaxStages, kMaxMicrobatches), UserError);
}

TEST(Schedule, KindsHaveNames) {
  EXPECT_EQ(parse_schedule_kind("gpipe"), ScheduleKind::kGPipe);
  EXPECT_EQ(parse_schedule_kind("1f1b"), ScheduleKind::k1F1B);
  try {
    parse_schedule_kind("2f2b");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), "[parallel.schedule] must be \"gpipe\" or \"1f1b\", found \"2f2b\".");
  }
}

// A channel between two threads: what one sends, the other gets in that order; a receive gives up after a while, so
// that a deadlock is a failure, not a hang.
class Channel {
 public:
  void send(std::tuple<int, bool, double> message) {
    const std::lock_guard lock(mutex_);
    messages_.push_back(message);
    ready_.notify_one();
  }
  bool receive(std::tuple<int, bool, double>& message) {
    std::unique_lock lock(mutex_);
    if (!ready_.wait_for(lock, std::chrono::seconds(5), [&] { return !messages_.empty(); })) return false;
    message = messages_.front();
    messages_.pop_front();
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::tuple<int, bool, double>> messages_;
};

// Carries out a schedule with a thread a stage and one number a microbatch: stage s maps x to (s + 2) * x, the loss is
// half the square of the sum of all outputs (coupled), or the sum of half of each one's square (split). The gradients
// of the inputs are then known. An independent reading of what the actions mean: it shares nothing with `simulate`.
class ThreadedRun {
 public:
  explicit ThreadedRun(const Schedule& schedule)
      : schedule_(schedule), forward_(schedule.stages.size()), backward_(schedule.stages.size()) {}

  std::map<int, double> input_gradients() {
    std::vector<std::thread> threads;
    for (std::size_t s = 0; s < schedule_.stages.size(); ++s) threads.emplace_back([this, s] { run_stage(s); });
    for (std::thread& thread : threads) thread.join();
    return gradients_;
  }
  bool deadlocked() const { return deadlocked_; }

 private:
  void run_stage(std::size_t s) {
    const double factor = static_cast<double>(s) + 2;
    const bool last = s + 1 == schedule_.stages.size();
    std::map<std::pair<int, bool>, double> in, out;
    std::map<int, double> gradient_in, gradient_out;
    double loss_seed = 0;
    for (const Action& action : schedule_.stages[s]) {
      const int m = action.microbatch;
      const bool embed = action.embed || action.kind == Action::kEmbed;
      std::tuple<int, bool, double> message;
      switch (action.kind) {
        case Action::kForward:
        case Action::kEmbed:
          out[{m, embed}] = factor * (s == 0 ? m + 1.0 : in.at({m, embed}));
          break;
        case Action::kLoss:
          for (int i = 0; i < schedule_.num_microbatches; ++i) {
            loss_seed += out.contains({i, true}) ? out.at({i, true}) : out.at({i, false});
          }
          break;
        case Action::kBackward: {
          const bool coupled = schedule_.coupling == LossCoupling::kCoupled;
          const double output_gradient = !last ? gradient_in.at(m) : coupled ? loss_seed : out.at({m, false});
          gradient_out[m] = factor * output_gradient;
          if (s == 0) gradients_[m] = gradient_out[m];
          break;
        }
        case Action::kSendActivation:
          forward_[s + 1].send({m, embed, out.at({m, embed})});
          break;
        case Action::kSendGradient:
          backward_[s - 1].send({m, false, gradient_out.at(m)});
          break;
        case Action::kRecvActivation:
          if (!forward_[s].receive(message)) return give_up();
          EXPECT_EQ(std::get<0>(message), m);
          EXPECT_EQ(std::get<1>(message), embed);
          in[{m, embed}] = std::get<2>(message);
          break;
        case Action::kRecvGradient:
          if (!backward_[s].receive(message)) return give_up();
          EXPECT_EQ(std::get<0>(message), m);
          gradient_in[m] = std::get<2>(message);
          break;
      }
    }
  }
  void give_up() { deadlocked_ = true; }

  const Schedule& schedule_;
  std::deque<Channel> forward_, backward_;  // [stage]: what comes to it
  std::map<int, double> gradients_;         // stage 0 alone writes
  std::atomic<bool> deadlocked_ = false;
};

TEST(Schedule, EveryScheduleGivesTheGradientsOfOneRankWhenThreadsCarryItOut) {
  for (const ScheduleKind kind : {ScheduleKind::kGPipe, ScheduleKind::k1F1B}) {
    for (const LossCoupling coupling : {LossCoupling::kSplit, LossCoupling::kCoupled}) {
      for (const int stages : {1, 2, 3, 5}) {
        for (const int microbatches : {1, 2, 3, 7}) {
          const Schedule schedule = make_schedule(kind, stages, microbatches, coupling);
          ThreadedRun run(schedule);
          const std::map<int, double> gradients = run.input_gradients();
          ASSERT_FALSE(run.deadlocked()) << schedule_kind_name(kind) << " " << stages << " x " << microbatches;
          double product = 1, sum = 0;
          for (int s = 0; s < stages; ++s) product *= s + 2;
          for (int m = 0; m < microbatches; ++m) sum += m + 1;
          ASSERT_EQ(gradients.size(), static_cast<std::size_t>(microbatches));
          for (int m = 0; m < microbatches; ++m) {
            const double expected = product * product * (coupling == LossCoupling::kCoupled ? sum : m + 1);
            EXPECT_EQ(gradients.at(m), expected) << schedule_kind_name(kind) << " " << stages << " x " << microbatches;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace triptych
