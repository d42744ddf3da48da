#include "parallel/pipeline/simulate.h"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "parallel/pipeline/draw.h"

namespace triptych {
namespace {

constexpr ScheduleKind kKinds[] = {ScheduleKind::kGPipe, ScheduleKind::k1F1B};
constexpr LossCoupling kCouplings[] = {LossCoupling::kSplit, LossCoupling::kCoupled};

Simulation run(ScheduleKind kind, int stages, int microbatches, LossCoupling coupling, double forward,
               double backward) {
  return simulate(make_schedule(kind, stages, microbatches, coupling), StageCosts::uniform(stages, forward, backward));
}

TEST(Simulate, BubbleAndPeakAreTheKnownOnes) {
  for (int p = 1; p <= 6; ++p) {
    for (int m = 1; m <= 9; ++m) {
      for (const double backward : {1.0, 2.0}) {
        const double bubble = (p - 1.0) / (m + p - 1.0);
        for (const ScheduleKind kind : kKinds) {
          const Simulation split = run(kind, p, m, LossCoupling::kSplit, 1, backward);
          EXPECT_NEAR(split.bubble_fraction, bubble, 1e-12) << p << " " << m;
          EXPECT_NEAR(split.makespan, (m + p - 1) * (1 + backward), 1e-12);
        }
        const Simulation gpipe = run(ScheduleKind::kGPipe, p, m, LossCoupling::kCoupled, 1, backward);
        EXPECT_NEAR(gpipe.bubble_fraction, bubble, 1e-12) << p << " " << m;
        // The embedding pass fills the pipeline once, and the other forwards follow it without a gap.
        const Simulation coupled = run(ScheduleKind::k1F1B, p, m, LossCoupling::kCoupled, 1, backward);
        EXPECT_NEAR(coupled.makespan, m + (m + p - 1) * (1 + backward), 1e-12) << p << " " << m;
        for (int s = 0; s < p; ++s) {
          const auto stage = static_cast<std::size_t>(s);
          EXPECT_EQ(gpipe.peak_activations[stage], m);
          EXPECT_EQ(coupled.peak_activations[stage], std::min(m, p - s));
          EXPECT_EQ(run(ScheduleKind::kGPipe, p, m, LossCoupling::kSplit, 1, backward).peak_activations[stage], m);
          EXPECT_EQ(run(ScheduleKind::k1F1B, p, m, LossCoupling::kSplit, 1, backward).peak_activations[stage],
                    std::min(m, p - s));
        }
      }
    }
  }
}

TEST(Simulate, TheSlowestStageSetsThePace) {
  // Stage 1 takes 3 + 5 for each of 10 microbatches; before it stands one forward of stage 0, behind it one backward.
  const Schedule schedule = make_schedule(ScheduleKind::k1F1B, 2, 10, LossCoupling::kSplit);
  const Simulation simulation = simulate(schedule, {{1, 3}, {2, 5}, {1, 3}, 0});
  EXPECT_DOUBLE_EQ(simulation.makespan, 1 + 10 * (3 + 5) + 2);
  EXPECT_NEAR(simulation.bubble_fraction, 1 - (10 * 3 + 10 * 8) / (2 * 83.0), 1e-12);
}

TEST(Simulate, TheLossTakesItsTime) {
  const Schedule schedule = make_schedule(ScheduleKind::kGPipe, 1, 2, LossCoupling::kCoupled);
  const Simulation simulation = simulate(schedule, {{1}, {2}, {1}, 4});
  EXPECT_DOUBLE_EQ(simulation.makespan, 2 * 1 + 4 + 2 * 2);
  EXPECT_DOUBLE_EQ(simulation.bubble_fraction, 0);
  ASSERT_EQ(simulation.timeline[0].size(), 5u);
  EXPECT_EQ(to_string(simulation.timeline[0][2].action), "L");
  EXPECT_DOUBLE_EQ(simulation.timeline[0][2].start, 2);
  EXPECT_DOUBLE_EQ(simulation.timeline[0][2].end, 6);
}

TEST(Simulate, FindsEveryActionThatIsMissingOrThereTwice) {
  int num_broken = 0;
  for (const ScheduleKind kind : kKinds) {
    for (const LossCoupling coupling : kCouplings) {
      const Schedule schedule = make_schedule(kind, 3, 4, coupling);
      const StageCosts costs = StageCosts::uniform(3, 1, 1);
      ASSERT_NO_THROW(simulate(schedule, costs));
      for (std::size_t s = 0; s < 3; ++s) {
        for (std::size_t i = 0; i < schedule.stages[s].size(); ++i) {
          Schedule dropped = schedule, doubled = schedule;
          dropped.stages[s].erase(dropped.stages[s].begin() + static_cast<std::ptrdiff_t>(i));
          doubled.stages[s].push_back(doubled.stages[s][i]);
          EXPECT_THROW(simulate(dropped, costs), ScheduleError) << s << " " << to_string(schedule.stages[s][i]);
          EXPECT_THROW(simulate(doubled, costs), ScheduleError) << s << " " << to_string(schedule.stages[s][i]);
          num_broken += 2;
        }
      }
    }
  }
  EXPECT_GT(num_broken, 300);
}

std::string error_of(const Schedule& schedule) {
  try {
    simulate(schedule, StageCosts::uniform(schedule.num_stages, 1, 1));
  } catch (const ScheduleError& error) {
    return error.what();
  }
  return "no error";
}

// The index of the action of that name.
std::size_t at(const Schedule& schedule, std::size_t stage, const std::string& name) {
  const std::vector<Action>& actions = schedule.stages[stage];
  const auto found =
      std::find_if(actions.begin(), actions.end(), [&](const Action& a) { return to_string(a) == name; });
  EXPECT_NE(found, actions.end()) << name;
  return static_cast<std::size_t>(found - actions.begin());
}

TEST(Simulate, NamesThePlaceOfADroppedReceive) {
  Schedule schedule = make_schedule(ScheduleKind::kGPipe, 2, 2, LossCoupling::kSplit);
  schedule.stages[1].erase(schedule.stages[1].begin() + static_cast<std::ptrdiff_t>(at(schedule, 1, "RF1")));
  EXPECT_EQ(error_of(schedule), "[pipeline schedule] stage 1, action 2 (F1): its input was not received.");
}

TEST(Simulate, NamesThePlaceOfSwappedReceives) {
  Schedule schedule = make_schedule(ScheduleKind::kGPipe, 2, 2, LossCoupling::kSplit);
  std::swap(schedule.stages[1][at(schedule, 1, "RF0")], schedule.stages[1][at(schedule, 1, "RF1")]);
  EXPECT_EQ(
      error_of(schedule),
      "[pipeline schedule] stage 1, action 0 (RF1): the next message from stage 0 is SF0; sends and receives must "
      "have one order.");
}

TEST(Simulate, TellsAnEmbeddingsMessageFromAForwards) {
  Schedule schedule = make_schedule(ScheduleKind::k1F1B, 2, 1, LossCoupling::kCoupled);
  std::swap(schedule.stages[1][at(schedule, 1, "RE0")].embed, schedule.stages[1][at(schedule, 1, "RF0")].embed);
  EXPECT_NE(error_of(schedule).find("stage 1, action 0 (RF0): the next message from stage 0 is SE0"), std::string::npos)
      << error_of(schedule);
}

TEST(Simulate, NamesEveryPlaceOfADeadlock) {
  // Stage 0 asks for the gradient before it sends the activation that the gradient comes from.
  Schedule schedule = make_schedule(ScheduleKind::kGPipe, 2, 1, LossCoupling::kSplit);
  ASSERT_EQ(to_string(schedule.stages[0][1]), "SF0");
  ASSERT_EQ(to_string(schedule.stages[0][2]), "RB0");
  std::swap(schedule.stages[0][1], schedule.stages[0][2]);
  EXPECT_EQ(
      error_of(schedule),
      "[pipeline schedule] deadlock: stage 0, action 1 (RB0) waits for stage 1, which is at action 0 (RF0); stage "
      "1, action 0 (RF0) waits for stage 0, which is at action 1 (RB0).");
}

TEST(Simulate, RefusesABackwardBeforeTheCoupledLoss) {
  Schedule schedule = make_schedule(ScheduleKind::kGPipe, 1, 2, LossCoupling::kCoupled);  // F0 F1 L B0 B1
  std::swap(schedule.stages[0][2], schedule.stages[0][3]);
  EXPECT_NE(error_of(schedule).find("stage 0, action 2 (B0): the loss"), std::string::npos) << error_of(schedule);
  schedule = make_schedule(ScheduleKind::kGPipe, 1, 2, LossCoupling::kCoupled);
  std::swap(schedule.stages[0][1], schedule.stages[0][2]);
  EXPECT_NE(error_of(schedule).find("action 1 (L): it needs every embedding, and 1 has none."), std::string::npos)
      << error_of(schedule);
}

TEST(Simulate, RefusesActionsOfAnotherStageOrMicrobatch) {
  Schedule schedule = make_schedule(ScheduleKind::kGPipe, 2, 2, LossCoupling::kSplit);
  schedule.stages[1][1].stage = 0;
  EXPECT_NE(error_of(schedule).find("it is said to be of stage 0"), std::string::npos);
  schedule = make_schedule(ScheduleKind::kGPipe, 2, 2, LossCoupling::kSplit);
  schedule.stages[0][0].microbatch = 2;
  EXPECT_NE(error_of(schedule).find("stage 0, action 0 (F2): there is no such microbatch."), std::string::npos);
}

TEST(Simulate, RefusesCostsThatAreNone) {
  const Schedule schedule = make_schedule(ScheduleKind::kGPipe, 2, 2, LossCoupling::kSplit);
  EXPECT_THROW(simulate(schedule, StageCosts::uniform(3, 1, 1)), UserError);
  EXPECT_THROW(simulate(schedule, StageCosts::uniform(2, -1, 1)), UserError);
  EXPECT_THROW(simulate(schedule, StageCosts::uniform(2, 1, 1.0 / 0.0)), UserError);
}

TEST(Simulate, ManyMicrobatchesTakeLinearTime) {
  const Simulation simulation = run(ScheduleKind::k1F1B, 4, 50000, LossCoupling::kSplit, 1, 1);
  EXPECT_DOUBLE_EQ(simulation.makespan, 2 * 50003);
}

TEST(Draw, ShowsTheGrid) {
  EXPECT_EQ(draw(run(ScheduleKind::kGPipe, 2, 2, LossCoupling::kSplit, 1, 1)),
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
  EXPECT_EQ(draw(run(ScheduleKind::k1F1B, 2, 2, LossCoupling::kCoupled, 1, 2)),
            "stage 0  E0 E1 F0 F1 .  .  B0--- .  B1---\n"
            "stage 1  .  E0 E1|F0 B0--- F1 B1--- .  .\n"
            "\n"
            "F forward   B backward   E forward without a graph   | the loss over the whole batch   . idle\n"
            "\n"
            "time                   11\n"
            "bubble                 27.3 %\n"
            "peak kept activations  2 1   (microbatches, by stage)\n");
}

TEST(Draw, TakesFinerColumnsForUnevenCosts) {
  const Schedule schedule = make_schedule(ScheduleKind::kGPipe, 1, 1, LossCoupling::kSplit);
  EXPECT_EQ(draw(simulate(schedule, {{2}, {3}, {2}, 0})).substr(0, 26), "stage 0  F0--- B0------\n\nF");
  EXPECT_EQ(draw(simulate(schedule, {{0}, {0}, {0}, 0})).substr(0, 9), "stage 0\n\n");
}

}  // namespace
}  // namespace triptych
