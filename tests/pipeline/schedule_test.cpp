#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <utility>

#include <gtest/gtest.h>

#include "base/error.h"
#include "parallel/pipeline/schedules.h"
#include "pipeline/pipeline_support.h"

namespace triptych::test {
namespace {

using test::words;

TEST(Schedule, GPipeListsAllForwardsBeforeAllBackwards) {
  const Schedule schedule = make_schedule("gpipe", {3, 1, 2, LossCoupling::kSplit});
  EXPECT_EQ(words(schedule.ranks[0]), "F0 SF0 F1 SF1 RB0 B0 RB1 B1");
  EXPECT_EQ(words(schedule.ranks[1]), "RF0 F0 SF0 RF1 F1 SF1 RB0 B0 SB0 RB1 B1 SB1");
  EXPECT_EQ(words(schedule.ranks[2]), "RF0 F0 RF1 F1 B0 SB0 B1 SB1");
}

TEST(Schedule, OneForwardOneBackwardAlternatesAfterItsWarmUp) {
  const Schedule schedule = make_schedule("1f1b", {2, 1, 3, LossCoupling::kSplit});
  EXPECT_EQ(words(schedule.ranks[0]), "F0 SF0 F1 SF1 RB0 B0 F2 SF2 RB1 B1 RB2 B2");
  EXPECT_EQ(words(schedule.ranks[1]), "RF0 F0 B0 SB0 RF1 F1 B1 SB1 RF2 F2 B2 SB2");
}

TEST(Schedule, ACoupledLossStandsBetweenEveryEmbeddingAndEveryBackward) {
  const Schedule gpipe = make_schedule("gpipe", {2, 1, 2, LossCoupling::kCoupled});
  EXPECT_EQ(words(gpipe.ranks[0]), "F0 SF0 F1 SF1 RB0 B0 RB1 B1");
  EXPECT_EQ(words(gpipe.ranks[1]), "RF0 F0 RF1 F1 L B0 SB0 B1 SB1");
  const Schedule alternating = make_schedule("1f1b", {2, 1, 2, LossCoupling::kCoupled});
  EXPECT_EQ(words(alternating.ranks[0]), "E0 SE0 E1 SE1 F0 SF0 F1 SF1 RB0 B0 RB1 B1");
  EXPECT_EQ(words(alternating.ranks[1]), "RE0 E0 RE1 E1 L RF0 F0 B0 SB0 RF1 F1 B1 SB1");
}

TEST(Schedule, OneStageSendsNothing) {
  EXPECT_EQ(words(make_schedule("gpipe", {1, 1, 1, LossCoupling::kCoupled}).ranks[0]), "F0 L B0");
  EXPECT_EQ(words(make_schedule("1f1b", {1, 1, 2, LossCoupling::kSplit}).ranks[0]), "F0 B0 F1 B1");
}

TEST(Schedule, RefusesSizesThatAreNoPipeline) {
  const auto make = [](int ranks, int microbatches) {
    return make_schedule("1f1b", {ranks, 1, microbatches, LossCoupling::kSplit});
  };
  EXPECT_THROW(make(0, 1), UserError);
  EXPECT_THROW(make(1, 0), UserError);
  EXPECT_THROW(make(kMaxPipelineRanks + 1, 1), UserError);
  EXPECT_THROW(make(1, kMaxMicrobatches + 1), UserError);
  EXPECT_THROW(make(kMaxPipelineRanks, kMaxMicrobatches), UserError);
}

TEST(Schedule, ANameThatIsNotInTheTableIsAnsweredWithThoseThatAre) {
  for (const ScheduleKind& kind : schedule_kinds()) {
    const Schedule schedule = make_schedule(kind.name, {2, 0, 3, LossCoupling::kSplit});
    EXPECT_EQ(schedule.name, kind.name);
    EXPECT_EQ(schedule.num_ranks, 2);
    EXPECT_EQ(schedule.num_microbatches, 3);
    EXPECT_NE(describe_schedules().find(std::string(kind.name) + ": " + std::string(kind.description)),
              std::string::npos);
  }
  try {
    make_schedule("2f2b", {2, 1, 3, LossCoupling::kSplit});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "[parallel.schedule] must be one of gpipe, 1f1b, interleaved, zb_h1, zb_v, or the path of a "
                 "file, found \"2f2b\". Did you mean \"1f1b\"?");
  }
}

TEST(Schedule, ActionsPrintWithTheirStageWhereItIsAskedFor) {
  const std::string text = "RF2@5 F2@5 SF2@5 RE0@3 E0@3 SE0@3 L@7 RB1@0 B1@0 SB1@0 D4@11 W4@11";
  EXPECT_EQ(words(test::parse_actions(text, 0), true), text);
  EXPECT_EQ(words(test::parse_actions(text, 0)), "RF2 F2 SF2 RE0 E0 SE0 L RB1 B1 SB1 D4 W4");
}

TEST(Schedule, StagesOfOneRankHandOverWithoutMessages) {
  const Schedule alone = test::looped_gpipe(1, 2, 2, LossCoupling::kCoupled);
  EXPECT_EQ(words(alone.ranks[0], true), "F0@0 F1@0 F0@1 F1@1 L@1 B0@1 B1@1 B0@0 B1@0");
  const Schedule turned = test::gpipe_over({0, 1, 1, 0}, 2, 1, LossCoupling::kSplit);
  EXPECT_EQ(words(turned.ranks[0], true), "F0@0 SF0@0 RF0@3 F0@3 B0@3 SB0@3 RB0@0 B0@0");
  EXPECT_EQ(words(turned.ranks[1], true), "RF0@1 F0@1 F0@2 SF0@2 RB0@2 B0@2 B0@1 SB0@1");
}

// A channel between two threads: what one sends, the other gets in that order; a receive gives up after a while, so
// that a deadlock is a failure, not a hang.
class Channel {
 public:
  struct Message {
    int stage, microbatch;  // of the receive
    bool embed;
    double value;
  };
  void send(const Message& message) {
    const std::lock_guard lock(mutex_);
    messages_.push_back(message);
    ready_.notify_one();
  }
  bool receive(Message& message) {
    std::unique_lock lock(mutex_);
    if (!ready_.wait_for(lock, std::chrono::seconds(5), [&] { return !messages_.empty(); })) return false;
    message = messages_.front();
    messages_.pop_front();
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Message> messages_;
};

// Carries out a schedule with a thread a rank and one number a microbatch: stage s maps x to w_s * x, w_s = s + 2, the
// loss is half the square of the sum of all outputs (coupled), or the sum of half of each one's square (split). The
// gradients of the inputs and of the w_s are then known. An independent reading of what the actions mean: it shares
// nothing with `simulate`.
class ThreadedRun {
 public:
  explicit ThreadedRun(const Schedule& schedule)
      : input_gradients(static_cast<std::size_t>(schedule.num_microbatches)),
        weight_gradients(static_cast<std::size_t>(schedule.num_stages)),
        schedule_(schedule) {
    for (int from = 0; from < schedule.num_ranks; ++from) {
      for (int to = 0; to < schedule.num_ranks; ++to) {
        activations_[{from, to}];
        gradients_[{from, to}];
      }
    }
    std::vector<std::thread> threads;
    for (int r = 0; r < schedule.num_ranks; ++r) threads.emplace_back([this, r] { run_rank(r); });
    for (std::thread& thread : threads) thread.join();
  }

  // [num_microbatches] and [num_stages]; each element is written by the one rank that owns its stage.
  std::vector<double> input_gradients, weight_gradients;
  std::atomic<bool> deadlocked = false;

 private:
  int owner(int stage) const { return schedule_.rank_of_stage.at(static_cast<std::size_t>(stage)); }

  void run_rank(int r) {
    const bool coupled = schedule_.coupling == LossCoupling::kCoupled;
    const int last = schedule_.num_stages - 1;
    std::map<std::tuple<int, int, bool>, double> in, out;                               // by stage, microbatch, embed
    std::map<std::pair<int, int>, double> arrived_gradient, out_gradient, in_gradient;  // by stage, microbatch
    double loss_seed = 0;
    for (const Action& action : schedule_.ranks[static_cast<std::size_t>(r)]) {
      const int m = action.microbatch, s = action.stage;
      const double weight = s + 2;
      const bool embed = action.embed || action.kind == Action::kEmbed;
      Channel::Message message{};
      switch (action.kind) {
        case Action::kForward:
        case Action::kEmbed:
          if (s == 0) in[{s, m, embed}] = m + 1;
          if (s > 0 && owner(s - 1) == r) in[{s, m, embed}] = out.at({s - 1, m, embed});
          out[{s, m, embed}] = weight * in.at({s, m, embed});
          break;
        case Action::kLoss:
          for (int i = 0; i < schedule_.num_microbatches; ++i) {
            loss_seed += out.contains({s, i, true}) ? out.at({s, i, true}) : out.at({s, i, false});
          }
          break;
        case Action::kBackward:
        case Action::kBackwardInput:
          out_gradient[{s, m}] = s < last && owner(s + 1) == r ? in_gradient.at({s + 1, m})
                                 : s < last                    ? arrived_gradient.at({s, m})
                                 : coupled                     ? loss_seed
                                                               : out.at({s, m, false});
          in_gradient[{s, m}] = weight * out_gradient.at({s, m});
          if (s == 0) input_gradients[static_cast<std::size_t>(m)] = in_gradient.at({s, m});
          if (action.kind == Action::kBackwardInput) break;
          [[fallthrough]];
        case Action::kBackwardWeight:
          weight_gradients[static_cast<std::size_t>(s)] += out_gradient.at({s, m}) * in.at({s, m, false});
          break;
        case Action::kSendActivation:
          activations_.at({r, owner(s + 1)}).send({s + 1, m, embed, out.at({s, m, embed})});
          break;
        case Action::kSendGradient:
          gradients_.at({r, owner(s - 1)}).send({s - 1, m, false, in_gradient.at({s, m})});
          break;
        case Action::kRecvActivation:
        case Action::kRecvGradient: {
          const bool gradient = action.kind == Action::kRecvGradient;
          Channel& channel = gradient ? gradients_.at({owner(s + 1), r}) : activations_.at({owner(s - 1), r});
          if (!channel.receive(message)) {
            deadlocked = true;
            return;
          }
          EXPECT_EQ(std::tuple(message.stage, message.microbatch, message.embed), std::tuple(s, m, embed));
          if (gradient) arrived_gradient[{s, m}] = message.value;
          if (!gradient) in[{s, m, embed}] = message.value;
          break;
        }
      }
    }
  }

  const Schedule& schedule_;
  std::map<std::pair<int, int>, Channel> activations_, gradients_;  // by sender and receiver
};

void expect_gradients_of_one_rank(const Schedule& schedule) {
  SCOPED_TRACE(schedule.name + " of " + std::to_string(schedule.num_ranks) + " ranks, " +
               std::to_string(schedule.num_stages) + " stages, " + std::to_string(schedule.num_microbatches) +
               " microbatches");
  const ThreadedRun run(schedule);
  ASSERT_FALSE(run.deadlocked);
  const bool coupled = schedule.coupling == LossCoupling::kCoupled;
  double product = 1, sum = 0, squares = 0;
  for (int s = 0; s < schedule.num_stages; ++s) product *= s + 2;
  for (int m = 1; m <= schedule.num_microbatches; ++m) {
    sum += m;
    squares += m * m;
  }
  // Every number here is a whole one below 2^53, so double arithmetic is exact.
  for (int m = 0; m < schedule.num_microbatches; ++m) {
    EXPECT_EQ(run.input_gradients[static_cast<std::size_t>(m)], product * product * (coupled ? sum : m + 1));
  }
  for (int s = 0; s < schedule.num_stages; ++s) {
    EXPECT_EQ(run.weight_gradients[static_cast<std::size_t>(s)],
              product * (product / (s + 2)) * (coupled ? sum * sum : squares));
  }
}

constexpr LossCoupling kCouplings[] = {LossCoupling::kSplit, LossCoupling::kCoupled};

TEST(Schedule, EveryScheduleGivesTheGradientsOfOneRankWhenThreadsCarryItOut) {
  for (const LossCoupling coupling : kCouplings) {
    for (const int ranks : {1, 2, 3, 5}) {
      for (const int microbatches : {1, 2, 3, 7}) {
        for (const std::string& name : schedule_names()) {
          expect_gradients_of_one_rank(make_schedule(name, {ranks, 0, microbatches, coupling}));
        }
        expect_gradients_of_one_rank(make_schedule("interleaved", {ranks, 1, microbatches, coupling}));
        if (ranks < 5) expect_gradients_of_one_rank(make_schedule("interleaved", {ranks, 3, microbatches, coupling}));
      }
    }
  }
}

TEST(Schedule, RanksThatOwnSeveralStagesGiveTheSameGradients) {
  for (const LossCoupling coupling : kCouplings) {
    for (const int microbatches : {1, 2, 5}) {
      for (const int ranks : {1, 2, 3}) {
        expect_gradients_of_one_rank(test::looped_gpipe(ranks, 2, microbatches, coupling));
      }
      expect_gradients_of_one_rank(test::gpipe_over({0, 1, 1, 0}, 2, microbatches, coupling));
      expect_gradients_of_one_rank(test::gpipe_over({2, 0, 0, 1, 2}, 3, microbatches, coupling));
    }
  }
}

}  // namespace
}  // namespace triptych::test
