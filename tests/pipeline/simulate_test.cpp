#include "parallel/pipeline/simulate.h"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "parallel/pipeline/draw.h"
#include "parallel/pipeline/schedule_text.h"
#include "parallel/pipeline/schedules.h"
#include "pipeline/pipeline_support.h"

namespace triptych::test {
namespace {

using test::by_hand;

constexpr LossCoupling kSplit = LossCoupling::kSplit, kCoupled = LossCoupling::kCoupled;
constexpr LossCoupling kCouplings[] = {kSplit, kCoupled};

Simulation run(std::string_view kind, int stages, int microbatches, LossCoupling coupling, double forward,
               double backward) {
  return simulate(make_schedule(kind, {stages, 1, microbatches, coupling}),
                  StageCosts::uniform(stages, forward, backward));
}

TEST(Simulate, BubbleAndPeakAreTheKnownOnes) {
  for (int p = 1; p <= 6; ++p) {
    for (int m = 1; m <= 9; ++m) {
      for (const double backward : {1.0, 2.0}) {
        const double bubble = (p - 1.0) / (m + p - 1.0);
        for (const std::string_view kind : {"gpipe", "1f1b"}) {
          const Simulation split = run(kind, p, m, LossCoupling::kSplit, 1, backward);
          EXPECT_NEAR(split.bubble_fraction, bubble, 1e-12) << p << " " << m;
          EXPECT_NEAR(split.makespan, (m + p - 1) * (1 + backward), 1e-12);
        }
        const Simulation gpipe = run("gpipe", p, m, LossCoupling::kCoupled, 1, backward);
        EXPECT_NEAR(gpipe.bubble_fraction, bubble, 1e-12) << p << " " << m;
        // The embedding pass fills the pipeline once, and the other forwards follow it without a gap; of one microbatch
        // there is none.
        const Simulation coupled = run("1f1b", p, m, LossCoupling::kCoupled, 1, backward);
        EXPECT_NEAR(coupled.makespan, (m > 1 ? m : 0) + (m + p - 1) * (1 + backward), 1e-12) << p << " " << m;
        for (int s = 0; s < p; ++s) {
          const auto stage = static_cast<std::size_t>(s);
          EXPECT_EQ(gpipe.peak_activations[stage], m);
          EXPECT_EQ(coupled.peak_activations[stage], std::min(m, p - s));
          EXPECT_EQ(run("gpipe", p, m, LossCoupling::kSplit, 1, backward).peak_activations[stage], m);
          EXPECT_EQ(run("1f1b", p, m, LossCoupling::kSplit, 1, backward).peak_activations[stage], std::min(m, p - s));
        }
      }
    }
  }
}

TEST(Simulate, RanksThatOwnSeveralStagesWaitLessAndKeepMore) {
  for (const int p : {1, 2, 3, 4}) {
    for (const int v : {1, 2, 3}) {
      for (const int m : {p, p + 1, 9}) {
        const Simulation looped =
            simulate(test::looped_gpipe(p, v, m, LossCoupling::kSplit), StageCosts::uniform(p * v, 1, 2));
        // Every rank has v * m pieces of work each way, and waits for the first and the last to go through the others.
        EXPECT_NEAR(looped.makespan, (v * m + p - 1) * 3, 1e-9) << p << " " << v << " " << m;
        EXPECT_NEAR(looped.bubble_fraction, (p - 1.0) / (v * m + p - 1.0), 1e-12) << p << " " << v << " " << m;
        EXPECT_EQ(looped.peak_activations, std::vector<int>(static_cast<std::size_t>(p), v * m));
        EXPECT_EQ(looped.peak_stage_activations, std::vector<int>(static_cast<std::size_t>(p * v), m));
      }
    }
  }
}

TEST(Simulate, AValueHandedOverOnOneRankIsThereAtOnce) {
  const Schedule schedule =
      by_hand(LossCoupling::kSplit, {0, 1, 1, 0}, 1,
              {"F0@0 SF0@0 RF0@3 F0@3 B0@3 SB0@3 RB0@0 B0@0", "RF0@1 F0@1 F0@2 SF0@2 RB0@2 B0@2 B0@1 SB0@1"});
  const Simulation simulation = simulate(schedule, StageCosts::uniform(4, 1, 2));
  EXPECT_DOUBLE_EQ(simulation.makespan, 4 * 1 + 4 * 2);
  ASSERT_EQ(simulation.timeline[1].size(), 4u);
  EXPECT_DOUBLE_EQ(simulation.timeline[1][1].start, 2);  // F0@2 right behind F0@1
  EXPECT_EQ(simulation.peak_activations, (std::vector<int>{2, 2}));
  EXPECT_EQ(simulation.peak_stage_activations, (std::vector<int>{1, 1, 1, 1}));
}

TEST(Simulate, BackwardsInHalvesHaveTheBubbleOfZbH1) {
  // Qi et al. 2023, table 1: (p-1)(F + D - W) of bubble against the (p-1)(F + D + W) of 1F1B, and the peak of 1F1B.
  for (const int p : {1, 2, 3, 4, 6}) {
    for (const int m : {p, p + 1, 2 * p, 13}) {
      for (const double share : {0.5, 0.75}) {
        const double forward = 4, backward = 8, weight = (1 - share) * backward;
        const Simulation split =
            simulate(make_schedule("zb_h1", {p, 1, m, kSplit}), StageCosts::uniform(p, forward, backward, share));
        const double bubble = (p - 1) * (forward + backward - 2 * weight);
        EXPECT_NEAR(split.makespan, m * (forward + backward) + bubble, 1e-9) << p << " " << m << " " << share;
        EXPECT_NEAR(split.bubble_fraction, bubble / split.makespan, 1e-12) << p << " " << m << " " << share;
        EXPECT_EQ(*std::max_element(split.peak_activations.begin(), split.peak_activations.end()), std::min(m, p));
      }
    }
  }
}

TEST(Simulate, SeveralStagesARankDivideTheBubble) {
  // Narayanan et al. 2021, section 2.2.2: (p-1)(F + B) / v. Stages cost a v-th of their rank.
  for (const int p : {1, 2, 3, 4, 8}) {
    for (const int v : {1, 2, 3, 4}) {
      for (const int groups : {1, 2, 4}) {
        const int m = groups * p;
        const double forward = 12, backward = 24;
        const Simulation split = simulate(make_schedule("interleaved", {p, v, m, kSplit}),
                                          StageCosts::uniform(p * v, forward / v, backward / v));
        EXPECT_NEAR(split.makespan, m * (forward + backward) + (p - 1) * (forward + backward) / v, 1e-9)
            << p << " " << v << " " << m;
        for (int r = 0; r < p; ++r) {
          EXPECT_EQ(split.peak_activations[static_cast<std::size_t>(r)],
                    std::min(v * m, (v - 1) * p + 2 * (p - 1 - r) + 1))
              << p << " " << v << " " << m << " " << r;
        }
      }
    }
  }
}

TEST(Simulate, SeveralStagesARankTakeAnyNumberOfMicrobatches) {
  for (int p = 1; p <= 8; ++p) {
    for (const int v : {2, 3, 4}) {
      for (int m = 1; m <= 4 * p + 3; ++m) {
        const Simulation split =
            simulate(make_schedule("interleaved", {p, v, m, kSplit}), StageCosts::uniform(p * v, 1, 2));
        // Every rank has v m pieces of work each way, and waits for one to go through the others; fewer microbatches
        // than ranks wait for each other in front of every stage.
        EXPECT_NEAR(split.makespan, 3 * (v * std::max(m, p) + std::min(m, p) - 1), 1e-9) << p << " " << v << " " << m;
        const int num_groups = std::max(1, m / p), group = (m + num_groups - 1) / num_groups;
        for (int r = 0; r < p; ++r) {
          EXPECT_EQ(split.peak_activations[static_cast<std::size_t>(r)],
                    std::min(v * m, (v - 1) * group + 2 * (p - 1 - r) + 1))
              << p << " " << v << " " << m << " " << r;
        }
      }
    }
  }
}

TEST(Simulate, AVWithBackwardsInHalvesLeavesNoRankIdle) {
  // Qi et al. 2024, table 2: no bubble where F = D = W, and the activations of p whole microbatches.
  for (const int p : {1, 2, 3, 4, 8}) {
    for (const int m : {2 * p, 2 * p + 1, 4 * p}) {
      const Simulation split = simulate(make_schedule("zb_v", {p, 2, m, kSplit}), StageCosts::uniform(2 * p, 1, 2));
      EXPECT_NEAR(split.longest_span, 2 * 3 * m, 1e-9) << p << " " << m;
      EXPECT_LE(*std::max_element(split.peak_activations.begin(), split.peak_activations.end()), 2 * p);
    }
  }
}

TEST(Simulate, ASpanIsARanksOwn) {
  // 1F1B: rank 0 is the first to begin and the last to end, and rank s waits s forwards and s backwards less.
  const Simulation split = run("1f1b", 4, 8, kSplit, 1, 2);
  EXPECT_NEAR(split.longest_span, (8 + 3) * 3, 1e-12);
  const Simulation alone = simulate(
      by_hand(kSplit, {0, 1}, 1, {"F0 SF0 RB0 B0", "RF0 F0 B0 SB0"}),
      StageCosts{
          .forward = {5, 1}, .backward = {1, 1}, .embed = {0, 0}, .backward_input = {0, 0}, .backward_weight = {0, 0}});
  EXPECT_NEAR(alone.longest_span, 5 + 2 + 1, 1e-12);
  EXPECT_NEAR(alone.timeline[1].back().end - alone.timeline[1].front().start, 2, 1e-12);
}

TEST(Simulate, AGraphIsKeptUntilItsWeightHalf) {
  const auto peak = [](const std::string& actions) {
    const Schedule schedule = by_hand(LossCoupling::kSplit, {0}, 3, {actions});
    return simulate(schedule, StageCosts::uniform(1, 1, 2)).peak_activations[0];
  };
  EXPECT_EQ(peak("F0 D0 W0 F1 D1 W1 F2 B2"), 1);
  EXPECT_EQ(peak("F0 D0 F1 W0 D1 W1 F2 B2"), 2);
  EXPECT_EQ(peak("F0 D0 F1 D1 F2 D2 W0 W1 W2"), 3);
}

TEST(Simulate, AGraphMayTakeMoreOrLessBetweenItsHalves) {
  const auto peak = [](const std::string& actions, double between) {
    StageCosts costs = StageCosts::uniform(1, 1, 2);
    costs.graph_between_halves = between;
    return simulate(by_hand(LossCoupling::kSplit, {0}, 3, {actions}), costs).peak_graphs[0];
  };
  for (const double between : {0.25, 1.0, 1.5}) {
    EXPECT_DOUBLE_EQ(peak("F0 B0 F1 B1 F2 B2", between), 1);
    EXPECT_DOUBLE_EQ(peak("F0 D0 W0 F1 D1 W1 F2 D2 W2", between), std::max(1.0, between));
    EXPECT_DOUBLE_EQ(peak("F0 F1 D0 D1 W0 W1 F2 B2", between), std::max(2.0, 2 * between));
    EXPECT_DOUBLE_EQ(peak("F0 D0 F1 D1 F2 D2 W0 W1 W2", between), std::max(2 * between + 1, 3 * between));
  }
}

TEST(Simulate, TheSlowestStageSetsThePace) {
  // Stage 1 takes 3 + 5 for each of 10 microbatches; before it stands one forward of stage 0, behind it one backward.
  const Schedule schedule = make_schedule("1f1b", {2, 1, 10, kSplit});
  StageCosts costs = StageCosts::uniform(2, 1, 2);
  costs.forward[1] = 3;
  costs.backward[1] = 5;
  const Simulation simulation = simulate(schedule, costs);
  EXPECT_DOUBLE_EQ(simulation.makespan, 1 + 10 * (3 + 5) + 2);
  EXPECT_NEAR(simulation.bubble_fraction, 1 - (10 * 3 + 10 * 8) / (2 * 83.0), 1e-12);
}

TEST(Simulate, TheLossTakesItsTime) {
  const Schedule schedule = make_schedule("gpipe", {1, 1, 2, kCoupled});
  StageCosts costs = StageCosts::uniform(1, 1, 2);
  costs.loss = 4;
  const Simulation simulation = simulate(schedule, costs);
  EXPECT_DOUBLE_EQ(simulation.makespan, 2 * 1 + 4 + 2 * 2);
  EXPECT_DOUBLE_EQ(simulation.bubble_fraction, 0);
  ASSERT_EQ(simulation.timeline[0].size(), 5u);
  EXPECT_EQ(to_string(simulation.timeline[0][2].action), "L");
  EXPECT_DOUBLE_EQ(simulation.timeline[0][2].start, 2);
  EXPECT_DOUBLE_EQ(simulation.timeline[0][2].end, 6);
}

TEST(Simulate, FindsEveryActionThatIsMissingOrThereTwice) {
  int num_broken = 0;
  for (const LossCoupling coupling : kCouplings) {
    std::vector<Schedule> schedules{test::looped_gpipe(2, 2, 3, coupling),
                                    test::gpipe_over({0, 1, 1, 0}, 2, 3, coupling)};
    for (const std::string& name : schedule_names()) schedules.push_back(make_schedule(name, {3, 0, 4, coupling}));
    for (const Schedule& schedule : schedules) {
      const StageCosts costs = StageCosts::uniform(schedule.num_stages, 1, 1);
      ASSERT_NO_THROW(simulate(schedule, costs)) << schedule.name;
      for (std::size_t r = 0; r < schedule.ranks.size(); ++r) {
        for (std::size_t i = 0; i < schedule.ranks[r].size(); ++i) {
          Schedule dropped = schedule, doubled = schedule;
          dropped.ranks[r].erase(dropped.ranks[r].begin() + static_cast<std::ptrdiff_t>(i));
          doubled.ranks[r].push_back(doubled.ranks[r][i]);
          const std::string broken = schedule.name + " " + to_string(schedule.ranks[r][i], true);
          EXPECT_THROW(simulate(dropped, costs), ScheduleError) << broken;
          EXPECT_THROW(simulate(doubled, costs), ScheduleError) << broken;
          num_broken += 2;
        }
      }
    }
  }
  EXPECT_GT(num_broken, 1000);
}

std::string error_of(const Schedule& schedule) {
  try {
    simulate(schedule, StageCosts::uniform(schedule.num_stages, 1, 1));
  } catch (const ScheduleError& error) {
    return error.what();
  }
  return "no error";
}

// A schedule that breaks one rule, and what is said of it.
struct Broken {
  Schedule schedule;
  std::string error;
};

void expect_errors(const std::vector<Broken>& all) {
  for (const Broken& broken : all) EXPECT_EQ(error_of(broken.schedule), "[pipeline schedule] " + broken.error);
}

TEST(Simulate, NamesASizeThatFitsNothing) {
  const Schedule good = make_schedule("gpipe", {2, 1, 1, kSplit});
  Schedule lists = good, stages = good, none = good;
  lists.num_ranks = 3;
  stages.rank_of_stage.pop_back();
  none.num_microbatches = 0;
  expect_errors({{lists, "3 ranks, 2 stages and 1 microbatches with 2 lists of actions and the ranks of 2 stages."},
                 {stages, "2 ranks, 2 stages and 1 microbatches with 2 lists of actions and the ranks of 1 stages."},
                 {none, "2 ranks, 2 stages and 0 microbatches with 2 lists of actions and the ranks of 2 stages."},
                 {by_hand(kSplit, {0, 2}, 1, {"F0", "F0"}), "stage 1 is said to be of rank 2 of 2."},
                 {by_hand(kSplit, {0, -1}, 1, {"F0", "F0"}), "stage 1 is said to be of rank -1 of 2."},
                 {by_hand(kSplit, {1, 1}, 1, {"", "F0@0 F0@1 B0@1 B0@0"}), "rank 0 owns no stage."}});
}

TEST(Simulate, NamesAnActionOfAnotherRankStageOrMicrobatch) {
  Schedule embed = by_hand(kCoupled, {0}, 1, {"F0 L B0"});
  embed.ranks[0][0].embed = true;
  expect_errors(
      {{by_hand(kSplit, {0, 1}, 1, {"F0@1", ""}), "rank 0, action 0 (F0 of stage 1): this stage is of rank 1."},
       {by_hand(kSplit, {0}, 1, {"F0 B0@1"}), "rank 0, action 1 (B0 of stage 1): there is no such stage."},
       {by_hand(kSplit, {0}, 1, {"F0@-1"}), "rank 0, action 0 (F0 of stage -1): there is no such stage."},
       {by_hand(kSplit, {0}, 1, {"F1"}), "rank 0, action 0 (F1 of stage 0): there is no such microbatch."},
       {by_hand(kSplit, {0}, 1, {"F-1"}), "rank 0, action 0 (F-1 of stage 0): there is no such microbatch."},
       {embed, "rank 0, action 0 (F0 of stage 0): only an activation that is sent or received can be an embed's."}});
}

TEST(Simulate, NamesAForwardThatCannotBe) {
  expect_errors(
      {{by_hand(kSplit, {0}, 1, {"F0 F0"}),
        "rank 0, action 1 (F0 of stage 0): it was done before; each is to be done once."},
       {by_hand(kCoupled, {0}, 1, {"E0 E0"}),
        "rank 0, action 1 (E0 of stage 0): it was done before; each is to be done once."},
       {by_hand(kSplit, {0}, 1, {"E0"}),
        "rank 0, action 0 (E0 of stage 0): a loss that splits into microbatches has no embedding pass."},
       {by_hand(kSplit, {0, 1}, 1, {"F0 SF0", "F0"}), "rank 1, action 0 (F0 of stage 1): its input was not received."},
       {by_hand(kCoupled, {0, 1}, 1, {"E0 SE0 F0 SF0", "E0"}),
        "rank 1, action 0 (E0 of stage 1): its input was not received."},
       {by_hand(kSplit, {0, 0}, 1, {"F0@1"}),
        "rank 0, action 0 (F0 of stage 1): its input was not computed by the stage before, on this rank."},
       {by_hand(kCoupled, {0, 0}, 1, {"F0@0 E0@1"}),
        "rank 0, action 1 (E0 of stage 1): its input was not computed by the stage before, on this rank."},
       {by_hand(kCoupled, {0, 1}, 1, {"F0 SF0 E0 SE0", "RF0"}),
        "rank 0, action 2 (E0 of stage 0): its forward was done before; a microbatch is embedded first."},
       {by_hand(kCoupled, {0}, 1, {"E0 F0 L B0"}),
        "rank 0, action 1 (F0 of stage 0): it was embedded for the loss, which was not evaluated; its forward comes "
        "behind."},
       {by_hand(kCoupled, {0, 0}, 1, {"E0@0 F0@0 E0@1"}),
        "rank 0, action 1 (F0 of stage 0): its embed waits for the stage behind, on this rank; the forward comes "
        "behind "
        "that."}});
}

TEST(Simulate, NamesALossThatCannotBe) {
  expect_errors({{by_hand(kSplit, {0}, 1, {"F0 L"}),
                  "rank 0, action 1 (L of stage 0): a loss that splits into microbatches is part of the last stage's "
                  "forwards."},
                 {by_hand(kCoupled, {0, 0}, 1, {"F0@0 F0@1 L@0"}),
                  "rank 0, action 2 (L of stage 0): only the last stage evaluates the loss."},
                 {by_hand(kCoupled, {0}, 1, {"F0 L L"}),
                  "rank 0, action 2 (L of stage 0): it was done before; each is to be done once."},
                 {by_hand(kCoupled, {0}, 2, {"F0 L F1"}),
                  "rank 0, action 1 (L of stage 0): it needs every embedding, and 1 has none."}});
}

TEST(Simulate, NamesABackwardThatCannotBe) {
  expect_errors(
      {{by_hand(kSplit, {0}, 1, {"F0 B0 B0"}),
        "rank 0, action 2 (B0 of stage 0): it was done before; each is to be done once."},
       {by_hand(kSplit, {0}, 1, {"F0 D0 D0"}),
        "rank 0, action 2 (D0 of stage 0): it was done before; each is to be done once."},
       {by_hand(kSplit, {0}, 1, {"F0 D0 W0 W0"}),
        "rank 0, action 3 (W0 of stage 0): it was done before; each is to be done once."},
       {by_hand(kSplit, {0}, 1, {"F0 D0 B0"}),
        "rank 0, action 2 (B0 of stage 0): its input half was done before; a backward is whole or in halves."},
       {by_hand(kSplit, {0}, 1, {"F0 B0 D0"}),
        "rank 0, action 2 (D0 of stage 0): its input half was done before; a backward is whole or in halves."},
       {by_hand(kSplit, {0}, 1, {"F0 B0 W0"}),
        "rank 0, action 2 (W0 of stage 0): its weight half was done before; a backward is whole or in halves."},
       {by_hand(kSplit, {0}, 1, {"F0 W0 D0"}), "rank 0, action 1 (W0 of stage 0): its input half was not done."},
       {by_hand(kSplit, {0}, 1, {"B0"}), "rank 0, action 0 (B0 of stage 0): its forward was not done."},
       {by_hand(kCoupled, {0}, 1, {"E0 L D0"}), "rank 0, action 2 (D0 of stage 0): its forward was not done."},
       {by_hand(kCoupled, {0}, 1, {"F0 B0 L"}),
        "rank 0, action 1 (B0 of stage 0): the coupled loss, which gives its seed, was not evaluated: L must come "
        "first, on "
        "the last stage."},
       {by_hand(kSplit, {0, 1}, 1, {"F0 SF0 B0", "RF0 F0 B0 SB0"}),
        "rank 0, action 2 (B0 of stage 0): its gradient was not received."},
       {by_hand(kSplit, {0, 0}, 1, {"F0@0 F0@1 B0@0"}),
        "rank 0, action 2 (B0 of stage 0): its gradient was not computed by the stage behind, on this rank."}});
}

TEST(Simulate, NamesAMessageThatCannotBe) {
  const auto ranks = [](const std::string& first, const std::string& second) {
    return by_hand(kSplit, {0, 1}, 2, {first, second});
  };
  expect_errors(
      {{ranks("", "SF0"), "rank 1, action 0 (SF0 of stage 1): there is no next stage."},
       {ranks("", "RB0"), "rank 1, action 0 (RB0 of stage 1): there is no next stage."},
       {ranks("RF0", ""), "rank 0, action 0 (RF0 of stage 0): there is no previous stage."},
       {ranks("SB0", ""), "rank 0, action 0 (SB0 of stage 0): there is no previous stage."},
       {by_hand(kSplit, {0, 0}, 1, {"F0@0 SF0@0"}),
        "rank 0, action 1 (SF0 of stage 0): stage 1 is on the same rank, where values are handed over without a "
        "message."},
       {by_hand(kSplit, {0, 0}, 1, {"F0@0 RF0@1"}),
        "rank 0, action 1 (RF0 of stage 1): stage 0 is on the same rank, where values are handed over without a "
        "message."},
       {ranks("SF0", ""), "rank 0, action 0 (SF0 of stage 0): what it sends was not computed."},
       {by_hand(kCoupled, {0, 1}, 1, {"F0 SE0", ""}),
        "rank 0, action 1 (SE0 of stage 0): what it sends was not computed."},
       {ranks("F0 SF0", "RF0 F0 SB0"), "rank 1, action 2 (SB0 of stage 1): what it sends was not computed."},
       {ranks("F0 SF0 SF0", ""), "rank 0, action 2 (SF0 of stage 0): it was done before; each is to be done once."},
       {ranks("F0 SF0", "RF0 F0 D0 SB0 SB0"),
        "rank 1, action 4 (SB0 of stage 1): it was done before; each is to be done once."},
       {ranks("F0 SF0", "RF0 RF0"), "rank 1, action 1 (RF0 of stage 1): it was received before."},
       {ranks("F0 SF0 F1 SF1", "RF1 F1 RF0 F0"),
        "rank 1, action 0 (RF1 of stage 1): the next message from rank 0 is SF0 of stage 0; sends and receives must "
        "have one order."},
       {by_hand(kCoupled, {0, 1}, 1, {"E0 SE0", "RF0"}),
        "rank 1, action 0 (RF0 of stage 1): the next message from rank 0 is SE0 of stage 0; sends and receives must "
        "have one order."},
       {ranks("F0 SF0 F1 SF1 RB0 B0", "RF0 F0 RF1 F1 B1 SB1"),
        "rank 0, action 4 (RB0 of stage 0): the next message from rank 1 is SB1 of stage 1; sends and receives must "
        "have one order."},
       {by_hand(kSplit, {0, 1, 0, 1}, 1, {"F0@0 SF0@0 RF0@2 F0@2 SF0@2", "RF0@3"}),
        "rank 1, action 0 (RF0 of stage 3): the next message from rank 0 is SF0 of stage 0; sends and receives must "
        "have one order."}});
}

TEST(Simulate, NamesEveryPlaceOfADeadlock) {
  // In each, a rank asks for the gradient before it sends the activation that the gradient comes from.
  expect_errors(
      {{by_hand(kSplit, {0, 1}, 1, {"F0 RB0 SF0 B0", "RF0 F0 B0 SB0"}),
        "deadlock: rank 0, action 1 (RB0 of stage 0) waits for rank 1, which is at action 0 (RF0 of stage 1); rank 1, "
        "action 0 (RF0 of stage 1) waits for rank 0, which is at action 1 (RB0 of stage 0)."},
       {by_hand(kSplit, {0, 1, 0}, 1, {"F0@0 SF0@0 RB0@0 RF0@2 F0@2 B0@2 SB0@2 B0@0", "RF0 F0 SF0 RB0 B0 SB0"}),
        "deadlock: rank 0, action 2 (RB0 of stage 0) waits for rank 1, which is at action 3 (RB0 of stage 1); rank 1, "
        "action 3 (RB0 of stage 1) waits for rank 0, which is at action 2 (RB0 of stage 0)."}});
}

TEST(Simulate, NamesWhatIsMissingAtTheEnd) {
  const auto ranks = [](const std::string& first, const std::string& second) {
    return by_hand(kCoupled, {0, 1}, 1, {first, second});
  };
  const std::string first = "E0 SE0 F0 SF0 RB0 B0", second = "RE0 E0 L RF0 F0 B0 SB0";
  ASSERT_EQ(error_of(ranks(first, second)), "no error");
  expect_errors({{ranks("", second), "rank 0, stage 0: F0 is missing."},
                 {ranks("E0", second), "rank 0, stage 0: SE0 is missing."},
                 {ranks("E0 SE0 F0", second), "rank 0, stage 0: SF0 is missing."},
                 {ranks("F0 SF0 RB0 B0", "RF0 F0"), "rank 1, stage 1: L is missing."},
                 {ranks(first, "RE0 E0 L RF0 F0"), "rank 1, stage 1: B0 is missing."},
                 {ranks(first, "RE0 E0 L RF0 F0 B0"), "rank 1, stage 1: SB0 is missing."},
                 {ranks(first, "RE0 E0 L RF0 F0 D0 SB0"), "rank 1, stage 1: W0 is missing."},
                 {by_hand(kCoupled, {0}, 2, {"E0 F1 L F0 B0 B1"}), "rank 0, stage 0: E1 is missing."},
                 {by_hand(kSplit, {0, 1, 0}, 1, {"F0 SF0 RF0@2 F0@2 B0@2 SB0@2", "RF0 F0 SF0 RB0 B0 SB0"}),
                  "rank 0, stage 0: B0 is missing."}});
}

TEST(Simulate, RefusesCostsThatAreNone) {
  const Schedule schedule = make_schedule("gpipe", {2, 1, 2, kSplit});
  EXPECT_THROW(simulate(schedule, StageCosts::uniform(3, 1, 1)), UserError);
  EXPECT_THROW(simulate(schedule, StageCosts::uniform(2, -1, 1)), UserError);
  EXPECT_THROW(simulate(schedule, StageCosts::uniform(2, 1, 1.0 / 0.0)), UserError);
  EXPECT_THROW(simulate(schedule, StageCosts::uniform(2, 1, 1, 1.5)), UserError);
  StageCosts negative = StageCosts::uniform(2, 1, 1);
  negative.graph_between_halves = -1;
  EXPECT_THROW(simulate(schedule, negative), UserError);
}

TEST(Simulate, ManyMicrobatchesTakeLinearTime) {
  const Simulation simulation = run("1f1b", 4, 50000, LossCoupling::kSplit, 1, 1);
  EXPECT_DOUBLE_EQ(simulation.makespan, 2 * 50003);
}

TEST(Draw, ShowsTheGrid) {
  EXPECT_EQ(draw(run("gpipe", 2, 2, LossCoupling::kSplit, 1, 1)),
            "stage 0  F0 F1 .  .  B0 B1\n"
            "stage 1  .  F0 F1 B0 B1 .\n"
            "\n"
            "F forward   B backward   . idle\n"
            "\n"
            "time                   6\n"
            "bubble                 33.3 %\n"
            "peak kept activations  2 2   (microbatches, by stage)\n");
}

TEST(Draw, MarksTheLossAndStretchesLongActions) {
  EXPECT_EQ(draw(run("1f1b", 2, 2, LossCoupling::kCoupled, 1, 2)),
            "stage 0  E0 E1 F0 F1 .  .  B0--- .  B1---\n"
            "stage 1  .  E0 E1|F0 B0--- F1 B1--- .  .\n"
            "\n"
            "F forward   B backward   E forward without a graph   | the loss over the whole batch   . idle\n"
            "\n"
            "time                   11\n"
            "bubble                 27.3 %\n"
            "peak kept activations  2 1   (microbatches, by stage)\n");
}

TEST(Draw, NamesTheStageWhereARankOwnsSeveral) {
  EXPECT_EQ(draw(simulate(test::looped_gpipe(2, 2, 2, LossCoupling::kSplit), StageCosts::uniform(4, 1, 1))),
            "rank 0  F0@0 F1@0 F0@2 F1@2 .    .    B0@2 B1@2 B0@0 B1@0\n"
            "rank 1  .    F0@1 F1@1 F0@3 F1@3 B0@3 B1@3 B0@1 B1@1 .\n"
            "\n"
            "F forward   B backward   . idle\n"
            "\n"
            "time                   10\n"
            "bubble                 20.0 %\n"
            "peak kept activations  4 4   (microbatches of a stage, by rank)\n");
}

TEST(Draw, ShowsTheHalvesOfBackwards) {
  EXPECT_EQ(draw(simulate(make_schedule("zb_h1", {2, 1, 3, kSplit}), StageCosts::uniform(2, 1, 2))),
            "stage 0  F0 F1 .  D0 W0 F2 D1 W1 D2 W2\n"
            "stage 1  .  F0 D0 F1 D1 W0 F2 D2 W1 W2\n"
            "\n"
            "F forward   D backward of the inputs   W backward of the weights   . idle\n"
            "\n"
            "time                   10\n"
            "bubble                 10.0 %\n"
            "peak kept activations  2 2   (microbatches, by stage)\n");
}

TEST(Draw, APictureHasABoxForEveryActionWhereItStands) {
  const Schedule schedule = parse_schedule("E0@0 E0@1 L@1 F0@0 F0@1 D0@1 W0@1 D0@0 W0@0", "mine", kCoupled);
  const std::string svg = draw_svg(simulate(schedule, StageCosts::uniform(2, 1, 2)));
  EXPECT_EQ(svg.find("<svg xmlns="), 0u);
  std::size_t at = 0;
  for (const char* title : {"E0@0, 0 to 1", "E0@1, 1 to 2", "L@1, 2 to 2", "F0@0, 2 to 3", "F0@1, 3 to 4",
                            "D0@1, 4 to 5", "W0@1, 5 to 6", "D0@0, 6 to 7", "W0@0, 7 to 8"}) {
    const std::size_t found = svg.find(std::string("<title>") + title + "</title>");
    ASSERT_NE(found, std::string::npos) << title;
    EXPECT_GT(found, at) << title;
    at = found;
  }
  // Columns of 20 px behind the 64 of the names.
  EXPECT_NE(svg.find(R"(<rect x="204.0" y="8.0" width="20.0" height="22" fill="#8fc08f")"), std::string::npos);
  EXPECT_NE(svg.find("time 8, bubble 0.0 %; the line under a box: the later the stage, the longer</text>"),
            std::string::npos);
}

TEST(Draw, TakesFinerColumnsForUnevenCosts) {
  const Schedule schedule = make_schedule("gpipe", {1, 1, 1, kSplit});
  EXPECT_EQ(draw(simulate(schedule, StageCosts::uniform(1, 2, 3))).substr(0, 26), "stage 0  F0--- B0------\n\nF");
  EXPECT_EQ(draw(simulate(schedule, StageCosts::uniform(1, 0, 0))).substr(0, 9), "stage 0\n\n");
}

}  // namespace
}  // namespace triptych::test
